"""Layers of which each rank has a part, taken out of a model that transformers has sharded by its own plan.

transformers hangs Python hooks and `DTensor` weights on each layer. The layers here hold plain tensors, which the lean
pass can merge and oneDNN can pack. What is not known here stays as transformers made it.
"""

import re
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")

Join = Callable[[Tensor], Tensor]
"""Makes the whole of what each rank has a part of. Every rank calls it at the same time."""


class ShardedLinear(nn.Module):
    """A linear layer of which this rank has a part, and how the ranks' outputs become the layer's."""

    def __init__(self, part: nn.Module, join: Join) -> None:
        super().__init__()
        self.part = part
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        """[…, in or this rank's part of it] → […, out], the same on each rank."""
        return self.join(self.part(x))


class ShardedEmbedding(nn.Module):
    """An embedding whose tokens are shared out among the ranks."""

    def __init__(self, weight: Tensor, *, first: int) -> None:
        """`weight` [tokens, C] are those of the tokens from `first` on."""
        super().__init__()
        self._weight = weight
        self._first = first

    def forward(self, token_ids: Tensor) -> Tensor:
        """[…] → […, C], the same on each rank."""
        rows = token_ids - self._first
        is_elsewhere = (rows < 0) | (rows >= len(self._weight))
        hidden = F.embedding(rows.masked_fill(is_elsewhere, 0), self._weight)
        return sum_over_ranks(hidden.masked_fill_(is_elsewhere.unsqueeze(-1), 0))


def sum_over_ranks(part: Tensor) -> Tensor:
    """The sum of all ranks' tensors, in place of this rank's."""
    dist.all_reduce(part)
    return part


def gather_columns(width: int) -> Join:
    """Puts the ranks' columns side by side; `width` of all together. The last ranks may have fewer."""
    most = _share(width)

    def join(part: Tensor) -> Tensor:
        padded = F.pad(part, (0, most - part.shape[-1])).contiguous()
        parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, padded)
        return torch.cat(parts, dim=-1)[..., :width]

    return join


def take_shards(model: PreTrainedModel) -> None:
    """Replace the layers whose style of sharding is known by plain ones on this rank's part of the weights."""
    plan = model.tp_plan
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            path = f"{parent_name}.{name}" if parent_name else name
            if (layer := _take(child, plan.get(_NUMBER.sub("*", path)))) is not None:
                setattr(parent, name, layer)


def is_plain(model: PreTrainedModel) -> bool:
    """Whether no linear layer is left whose weight only transformers' hooks can use."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return not any(isinstance(linear.weight, DTensor) for linear in linears)


def _take(layer: nn.Module, style: str | None) -> nn.Module | None:
    """What takes a layer's place; None where it stays."""
    if type(layer) is nn.Embedding and style == "embedding_rowwise" and isinstance(layer.weight, DTensor):
        return ShardedEmbedding(_local(layer.weight), first=dist.get_rank() * _share(layer.num_embeddings))
    if type(layer) is not nn.Linear or not isinstance(layer.weight, DTensor):
        return None
    if style == "colwise":
        return _part(layer, layer.bias)
    if style == "colwise_gather_output":
        return ShardedLinear(_part(layer, layer.bias), gather_columns(layer.out_features))
    if style == "rowwise":  # the bias counts once in the sum
        return ShardedLinear(_part(layer, layer.bias if dist.get_rank() == 0 else None), sum_over_ranks)
    return None


def _part(layer: nn.Linear, bias: Tensor | None) -> nn.Linear:
    weight = _local(layer.weight)
    part = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    part.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        part.bias = nn.Parameter(_local(bias), requires_grad=False)
    return part


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def _share(size: int) -> int:
    """Rows or columns that a rank has of as many; the last ranks have what is left (as `torch.chunk` deals them)."""
    return -(-size // dist.get_world_size())
