"""The forward pass of transformers' own modules on the paged cache."""

from torch import Tensor
from transformers import PreTrainedModel

from tokenwire.engine.model.attention import AttentionBatch
from tokenwire.engine.model.linear import replace_linears
from tokenwire.engine.model.module_cache import ModuleCache
from tokenwire.engine.model.stable_rows import StableRows


class ModuleForward:
    """The forward pass of transformers' own modules, which know the layers of their attention themselves."""

    def __init__(self, model: PreTrainedModel, cache: ModuleCache, *, pack: bool, rows: StableRows | None) -> None:
        if pack or rows is not None:
            replace_linears(model, pack=pack, rows=rows)
        self._model = model
        self._cache = cache

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """See `Forward`."""
        self._cache.attach(num_blocks=num_blocks, block_size=block_size)

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """See `Forward`."""
        self._cache.use(batch)
        output = self._model(
            input_ids=token_ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=logit_rows,
        )
        logits: Tensor = output.logits
        return logits[0]
