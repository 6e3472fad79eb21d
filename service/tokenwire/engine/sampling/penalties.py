"""Penalties of one sequence, kept as dense rows so that a step costs the same however long the text is."""

from collections import Counter
from collections.abc import Sequence

import torch

from tokenwire.engine.model.staging import stage
from tokenwire.engine.protocol import SamplingParams

MIN_REPETITION_PENALTY = 1e-4
"""Keeps logits / penalty inside float32, before they are divided by the temperature, too; less decides nothing else."""


def has_penalties(params: SamplingParams) -> bool:
    """Whether a sequence needs `Penalties`."""
    return params.frequency_penalty != 0 or params.presence_penalty != 0 or params.repetition_penalty != 1


class Penalties:
    """Repetition, frequency and presence penalties.

    Repetition (Keskar et al., "CTRL", 2019; https://arxiv.org/abs/1909.05858): the score of a token of the prompt or
    the answer is divided by the penalty where positive and multiplied by it where negative. Frequency and presence (the
    chat API's definition): the score of a token of the answer falls by frequency · count + presence.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_token_ids: Sequence[int],
        generated_token_ids: Sequence[int],
        *,
        width: int,
        device: torch.device,
    ) -> None:
        self._frequency = params.frequency_penalty
        self._presence = params.presence_penalty
        self._repetition = max(params.repetition_penalty, MIN_REPETITION_PENALTY)
        self._counts = Counter(generated_token_ids)
        self._factors: torch.Tensor | None = None  # [width]; 1 for tokens not in the text
        self._offsets: torch.Tensor | None = None  # [width]; 0 for tokens not in the answer
        if self._repetition != 1:
            seen = stage(sorted({*prompt_token_ids, *generated_token_ids}), device=device, dtype=torch.int64)
            self._factors = torch.ones(width, device=device)
            self._factors[seen] = self._repetition
        if self._frequency != 0 or self._presence != 0:
            self._offsets = torch.zeros(width, device=device)
            for token_id in self._counts:
                self._offsets[token_id] = self._offset(token_id)

    def apply(self, row: torch.Tensor) -> None:
        """Penalise `row` [width] in place."""
        if self._factors is not None:
            torch.where(row > 0, row / self._factors, row * self._factors, out=row)
        if self._offsets is not None:
            row -= self._offsets

    def count(self, token_id: int) -> None:
        """Take a newly generated token into account."""
        self._counts[token_id] += 1
        if self._factors is not None:
            self._factors[token_id] = self._repetition
        if self._offsets is not None:
            self._offsets[token_id] = self._offset(token_id)

    def _offset(self, token_id: int) -> float:
        return self._frequency * self._counts[token_id] + self._presence
