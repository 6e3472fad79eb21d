"""From logits to tokens: each sequence with its own parameters, and a result that its neighbours cannot change.

The stages of a row, in order: log-probabilities of the untouched logits → grammar and bad words → logit bias → minimum
length → penalties → temperature → min-p → top-k → top-p → draw. Temperature 0 ends after the penalties, with the best
token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from tokenwire.engine.grammar.compiler import Grammar, GrammarCompiler
from tokenwire.engine.grammar.constraint import Constraint, Constraints
from tokenwire.engine.model.staging import stage
from tokenwire.engine.protocol import FinishReason, SamplingParams, TokenLogprobs, Vocabulary
from tokenwire.engine.sampling.draw import (
    Truncation,
    draw_truncated,
    mask_below_min_p,
    padded,
    padded_width,
    row_argmax,
    row_max,
)
from tokenwire.engine.sampling.logprobs import token_logprobs
from tokenwire.engine.sampling.noise import GumbelNoise, noise_key
from tokenwire.engine.sampling.penalties import Penalties, has_penalties
from tokenwire.engine.sampling.sample import Sample
from tokenwire.engine.sampling.token_mask import Masking

_CPU_GROUP_ELEMENTS = 2**19
"""Rows are worked on in groups of this many logits: enough to outweigh the cost of a call, few enough for the cache."""
_BAN = -100.0
"""The logit bias that excludes a token, by the chat API."""
_LEAST_TEMPERATURE = 1e-30
"""Keeps logits / temperature inside float32; colder is the same."""
_MOST_LOOKING_AHEAD = 8
"""Rows of a step that asks grammars what they expect: that takes up to 0.1 ms a row, and more rows draft little."""
_NOT_FINITE, _ALL_BANNED = -1, -2
"""In place of a token id."""


@dataclass(slots=True)
class _Row:
    """What a slot's sequence needs for its next draw."""

    params: SamplingParams
    position: int
    """Number of tokens generated so far."""
    bias: tuple[torch.Tensor, torch.Tensor] | None
    """Token ids and what is added to their logits."""
    early_ends: tuple[torch.Tensor, torch.Tensor] | None
    """The same, for the tokens that would end the sequence before `min_tokens`."""
    penalties: Penalties | None
    constraint: Constraint | None
    mask: torch.Tensor | None = None
    """Tokens that the constraint leaves for this step, [1, W / 32] of int32."""

    @property
    def is_greedy(self) -> bool:
        return self.params.temperature == 0 or self.params.top_p == 0 or self.params.top_k == 1

    @property
    def has_early_ends(self) -> bool:
        return self.early_ends is not None and self.position < self.params.min_tokens

    @property
    def is_edited(self) -> bool:
        """Whether the logits change before the temperature."""
        return self.constraint is not None or self.bias is not None or self.penalties is not None or self.has_early_ends

    @property
    def truncation(self) -> Truncation:
        return Truncation(min_p=self.params.min_p, top_k=self.params.top_k, top_p=self.params.top_p)

    @property
    def stages(self) -> tuple[bool, bool, bool, bool]:
        """Rows with equal stages are worked on together."""
        return self.is_greedy, self.is_edited, self.truncation.cuts_by_rank, self.constraint is not None

    def edit(self, logits: torch.Tensor) -> None:
        """Bias and penalise the row's `logits` [W] in place.

        Bans are added, not written: a NaN or +inf beneath still shows as a fault.
        """
        if self.bias is not None:
            logits.index_add_(0, *self.bias)
        if self.early_ends is not None and self.has_early_ends:
            logits.index_add_(0, *self.early_ends)
        if self.penalties is not None:
            self.penalties.apply(logits)

    def take(self, drawn: int, logprobs: TokenLogprobs | None, *, looks_ahead: bool) -> Sample:
        """What was drawn, a token or what stands in its place, as a sample; a token counts as generated."""
        self.position += 1
        if drawn >= 0:
            if self.penalties is not None:
                self.penalties.count(drawn)
            if self.constraint is None:
                return Sample(drawn, logprobs)
            if self.constraint.take(drawn):
                return Sample(drawn, logprobs, FinishReason.COMPLETE)
            return Sample(drawn, logprobs, expected=self.constraint.expected() if looks_ahead else ())
        if drawn == _NOT_FINITE or self.constraint is None:
            return Sample(None)
        is_complete = self.constraint.is_complete
        return Sample(None, finish_reason=FinishReason.COMPLETE if is_complete else FinishReason.CONSTRAINT_FAILED)


class Sampler:
    """Samples the sequences of a batch, each in a slot of its own."""

    def __init__(
        self,
        *,
        vocabulary_size: int,
        max_slots: int,
        eos_token_ids: Sequence[int],
        device: torch.device,
        looks_ahead: bool = False,
    ) -> None:
        """`looks_ahead`: samples say what grammars expect behind them."""
        self._looks_ahead = looks_ahead
        self._vocabulary_size = vocabulary_size
        self._width = padded_width(vocabulary_size)
        self._eos_token_ids = frozenset(eos_token_ids)
        self._device = device
        self._slots: list[_Row | None] = [None] * max_slots
        self._noise = GumbelNoise(self._width, device=device)
        self._constraints: Constraints | None = None
        self._masking = Masking(device)
        self._group_rows = max(1, _CPU_GROUP_ELEMENTS // self._width) if device.type == "cpu" else max_slots

    def set_vocabulary(self, vocabulary: Vocabulary) -> GrammarCompiler:
        """Say what the tokens are, before any sequence has a grammar or bad words. Returns the maker of grammars."""
        self._constraints = Constraints(
            vocabulary,
            eos_token_ids=self._eos_token_ids,
            width=self._width,
            max_rows=len(self._slots),
            device=self._device,
        )
        return self._constraints.compiler

    def assign(
        self,
        slot: int,
        params: SamplingParams,
        prompt_token_ids: Sequence[int],
        generated_token_ids: Sequence[int] = (),
        *,
        grammar: Grammar | None = None,
    ) -> None:
        """Give `slot` to a sequence, in place of the one that had it. `grammar` is `params.grammar`, compiled.

        With the tokens that it has generated before (it was preempted), it goes on as if nothing had happened.
        """
        constraint = None
        if self._constraints is not None:
            constraint = self._constraints.open(params, grammar, generated_token_ids)
        ends = sorted(
            token_id
            for token_id in self._eos_token_ids.union(params.stop_token_ids)
            if 0 <= token_id < self._vocabulary_size
        )
        self._slots[slot] = _Row(
            params=params,
            position=len(generated_token_ids),
            bias=self._offsets([(i, -torch.inf if bias <= _BAN else bias) for i, bias in params.logit_bias]),
            early_ends=self._offsets([(i, -torch.inf) for i in ends])
            if params.min_tokens > 0 and grammar is None
            else None,
            penalties=Penalties(params, prompt_token_ids, generated_token_ids, width=self._width, device=self._device)
            if has_penalties(params)
            else None,
            constraint=constraint,
        )

    def sample(self, logits: torch.Tensor, slots: Sequence[int]) -> list[Sample]:
        """Draw the next token of each slot's sequence, and count it as generated.

        `logits` [B, V], any float type, is left as it is; row i belongs to `slots[i]`. A row whose logits are not
        finite, or all banned, gives a `Sample` without a token, and the others are none the worse.
        """
        if not slots:
            return []
        rows = [self._row(slot) for slot in slots]
        self._fill_masks([row for row in rows if row.constraint is not None])
        drawn = torch.empty(len(rows), dtype=torch.int64, device=self._device)
        for group in self._groups(rows):
            # Rows that stand together need no copy; what is written into is copied later.
            members = [rows[i] for i in group]
            if group[-1] - group[0] + 1 == len(group):
                together = slice(group[0], group[-1] + 1)
                drawn[together] = self._draw(logits[together], members, copied=False)
            else:
                apart = stage(group, device=self._device)
                drawn.index_copy_(0, apart, self._draw(logits.index_select(0, apart), members, copied=True))
        token_ids: list[int] = drawn.tolist()
        logprobs = _logprobs(logits, rows, token_ids)
        looks_ahead = self._looks_ahead and len(rows) <= _MOST_LOOKING_AHEAD
        samples = [row.take(token_ids[i], logprobs.get(i), looks_ahead=looks_ahead) for i, row in enumerate(rows)]
        self._prepare_masks(rows, samples)
        return samples

    def _fill_masks(self, rows: Sequence[_Row]) -> None:
        if self._constraints is not None and rows:
            masks = self._constraints.masks([row.constraint for row in rows if row.constraint is not None])
            for i, row in enumerate(rows):
                row.mask = masks[i : i + 1]

    def _prepare_masks(self, rows: Sequence[_Row], samples: Sequence[Sample]) -> None:
        """Those of the sequences that may go on."""
        going_on = [
            row.constraint
            for row, sample in zip(rows, samples, strict=True)
            if row.constraint is not None and sample.finish_reason is None and sample.token_id is not None
        ]
        if self._constraints is not None and going_on:
            self._constraints.prepare(going_on)

    def _row(self, slot: int) -> _Row:
        row = self._slots[slot]
        if row is None:
            raise ValueError(f"slot {slot} has no sequence")
        return row

    def _offsets(self, pairs: Sequence[tuple[int, float]]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Token ids and values as tensors, ready for `index_add_`; None for no pairs."""
        if not pairs:
            return None
        ids, values = zip(*pairs, strict=True)
        return stage(ids, device=self._device), stage(values, device=self._device, dtype=torch.float32)

    def _groups(self, rows: Sequence[_Row]) -> Iterator[list[int]]:
        """Indices of rows that go through the same stages. Groups are small enough for the cache, unless only read."""

        def stages(i: int) -> tuple[bool, bool, bool, bool]:
            return rows[i].stages

        for (is_greedy, is_edited, *_), members in groupby(sorted(range(len(rows)), key=stages), key=stages):
            indices = list(members)
            size = len(indices) if is_greedy and not is_edited else self._group_rows
            yield from (indices[start : start + size] for start in range(0, len(indices), size))

    def _draw(self, logits: torch.Tensor, rows: Sequence[_Row], *, copied: bool) -> torch.Tensor:
        """Token ids of rows that go through the same stages, [R]; where there is none, what stands in its place."""
        is_greedy, is_edited, cuts_by_rank, _ = rows[0].stages
        if is_greedy and not is_edited:
            return _finite(*row_argmax(padded(logits)))
        masks = [row.mask for row in rows if row.mask is not None]  # all of them or none
        if masks:
            z = self._masking.apply(logits, torch.cat(masks))
        else:
            z = padded(logits).to(torch.float32, copy=not copied)
        for row, row_z in zip(rows, z, strict=True):
            row.edit(row_z)
        if is_greedy:
            return _finite(*row_argmax(z))
        best = row_max(z)
        z -= best
        z *= stage([[1 / max(row.params.temperature, _LEAST_TEMPERATURE)] for row in rows], device=self._device)
        truncations = [row.truncation for row in rows]
        mask_below_min_p(z, truncations)
        noise = self._noise.rows([noise_key(row.params.seed, row.position) for row in rows])
        noise += z
        score, index = draw_truncated(z, noise, truncations) if cuts_by_rank else row_argmax(noise)
        return _finite(score.where(best > -torch.inf, best), index)


def _finite(score: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`index` [R, 1] as [R], with what stands for it where the score is not finite."""
    missing = torch.where(score == -torch.inf, _ALL_BANNED, _NOT_FINITE)
    return index.where(score.isfinite(), missing).squeeze(1)


def _logprobs(logits: torch.Tensor, rows: Sequence[_Row], token_ids: Sequence[int]) -> dict[int, TokenLogprobs]:
    """Log-probabilities by row index, for the rows that asked and have a token."""
    asked = {
        i: row.params.top_logprobs
        for i, row in enumerate(rows)
        if row.params.top_logprobs is not None and token_ids[i] >= 0
    }
    if not asked:
        return {}
    indices = list(asked)
    selected = logits if len(indices) == len(rows) else logits.index_select(0, stage(indices, device=logits.device))
    return dict(
        zip(indices, token_logprobs(selected, [token_ids[i] for i in indices], list(asked.values())), strict=True)
    )
