"""What sequences may generate by their grammars and bad words, as masks over the vocabulary."""

from collections.abc import Iterable, Sequence

import torch
from llguidance import LLExecutor, LLMatcher

from tokenwire.engine.bad_words import BadWords, TokenIndex
from tokenwire.engine.grammar import Grammar, GrammarCompiler
from tokenwire.engine.protocol import SamplingParams, Vocabulary
from tokenwire.engine.token_mask import pack


class Constraint:
    """What one sequence may generate after its text so far."""

    def __init__(
        self, *, matcher: LLMatcher | None, end_ids: frozenset[int], ends: torch.Tensor, bad_words: BadWords | None
    ) -> None:
        """`end_ids`: tokens that end an answer, and `ends` their mask. A grammar has them just where it is complete."""
        self.matcher = matcher
        self._end_ids = end_ids
        self._ends = ends
        self._bad_words = bad_words

    @property
    def is_complete(self) -> bool:
        """Whether there is a grammar, and the text is complete by it."""
        return self.matcher is not None and not self.matcher.is_error() and self.matcher.is_accepting()

    def edit(self, mask: torch.Tensor) -> None:
        """Complete, in place, what the matcher has written into a mask, [words] of int32."""
        if self.matcher is None:
            mask.fill_(-1)
        elif self.matcher.is_error():
            mask.zero_()
        elif mask[-1]:  # the end of the text, and nothing else, has a bit there
            mask |= self._ends
        else:
            mask &= ~self._ends
        if self._bad_words is not None:
            self._bad_words.ban(mask)

    def take(self, token_id: int) -> bool:
        """Add a token to the text; whether the grammar allows nothing more."""
        if self._bad_words is not None:
            self._bad_words.take(token_id)
        if self.matcher is None or token_id in self._end_ids:
            return False
        self.matcher.consume_token(token_id)
        return self.matcher.is_stopped() and not self.matcher.is_error()


class Constraints:
    """Makes the constraints of sequences, and the masks of a batch of them."""

    def __init__(
        self, vocabulary: Vocabulary, *, eos_token_ids: Iterable[int], width: int, max_rows: int, device: torch.device
    ) -> None:
        """`width`: columns of the logits, a multiple of 32."""
        self.compiler = GrammarCompiler(vocabulary, width=width)
        self._eos_token_ids = frozenset(eos_token_ids)
        self._device = device
        words = self.compiler.words
        self._tokens = TokenIndex(vocabulary, words=words)
        self._masks = torch.empty((max_rows, words), dtype=torch.int32, pin_memory=device.type == "cuda")
        self._executor = LLExecutor(torch.get_num_threads())

    def open(
        self, params: SamplingParams, grammar: Grammar | None, generated_token_ids: Sequence[int]
    ) -> Constraint | None:
        """The constraint of a sequence that has generated these tokens; None where it has none."""
        if grammar is None and not params.bad_words:
            return None
        matcher = None if grammar is None else grammar.deep_copy()
        if matcher is not None:
            matcher.consume_tokens(list(generated_token_ids))
        word_set = self._tokens.compile(params.bad_words) if params.bad_words else None
        end_ids = self._eos_token_ids.union(params.stop_token_ids)
        return Constraint(
            matcher=matcher,
            end_ids=end_ids,
            ends=pack(end_ids, words=self.compiler.words),
            bad_words=None if word_set is None else BadWords(word_set, generated_token_ids),
        )

    def masks(self, constraints: Sequence[Constraint]) -> torch.Tensor:
        """What each sequence may generate next: [R, W / 32] of int32 on the device. Good until the next call."""
        matchers = [(c.matcher, row) for row, c in enumerate(constraints) if c.matcher is not None]
        masks = self._masks[: len(constraints)]
        if matchers:
            self._executor.unsafe_compute_mask_ptr(matchers, masks.data_ptr(), masks.stride(0) * 4, len(masks))
        for constraint, mask in zip(constraints, masks, strict=True):
            constraint.edit(mask)
        return masks[:, :-1].to(self._device, non_blocking=True)
