"""What sequences may generate by their grammars and bad words, as masks over the vocabulary."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from llguidance import LLMatcher

from tokenwire.engine.grammar.compiler import Grammar, GrammarCompiler
from tokenwire.engine.protocol import SamplingParams, Vocabulary
from tokenwire.engine.sampling.bad_words import BadWords, TokenIndex
from tokenwire.engine.sampling.token_mask import pack

_MAX_EXPECTED_BYTES = 64
"""More than a draft has."""


class Constraint:
    """What one sequence may generate after its text so far."""

    def __init__(
        self,
        *,
        matcher: LLMatcher | None,
        spell: Callable[[bytes], list[int]],
        end_ids: frozenset[int],
        ends: torch.Tensor,
        bad_words: BadWords | None,
    ) -> None:
        """`spell` gives tokens of a text.

        `end_ids`: tokens that end an answer, and `ends` their mask. A grammar has them just where it is complete.
        """
        self.matcher = matcher
        self._spell = spell
        self._end_ids = end_ids
        self._ends = ends
        self._not_ends = ~ends
        self._bad_words = bad_words
        self._mask = torch.empty_like(ends)
        self._is_filled = False
        self._expected: list[int] = []

    @property
    def is_complete(self) -> bool:
        """Whether there is a grammar, and the text is complete by it."""
        return self.matcher is not None and not self.matcher.is_error() and self.matcher.is_accepting()

    def mask(self) -> torch.Tensor:
        """What may come next, [words] of int32."""
        if not self._is_filled:
            self._fill()
        return self._mask

    def _fill(self) -> None:
        if self.matcher is None:
            self._mask.fill_(-1)
        else:
            self._fill_by_grammar(self.matcher, self._mask)
        if self._bad_words is not None:
            self._bad_words.ban(self._mask)
        self._is_filled = True

    def _fill_by_grammar(self, matcher: LLMatcher, mask: torch.Tensor) -> None:
        matcher.unsafe_compute_mask_ptr(mask.data_ptr(), mask.numel() * mask.element_size())
        if matcher.is_error():
            mask.zero_()
        elif mask[-1]:  # the end of the text, and nothing else, has a bit there
            mask |= self._ends
        else:
            mask &= self._not_ends

    def expected(self) -> tuple[int, ...]:
        """Tokens that may spell what must come next. A guess: the text is certain, its tokens are not."""
        if not self._expected and self.matcher is not None:
            # A copy looks ahead: the matcher itself would keep what it finds, and its masks must not depend on that.
            ahead = self.matcher.deep_copy()
            self._expected = self._spell(ahead.compute_ff_bytes()[:_MAX_EXPECTED_BYTES])
        return tuple(self._expected)

    def take(self, token_id: int) -> bool:
        """Add a token to the text; whether the grammar allows nothing more."""
        self._is_filled = False
        self._expected = self._expected[1:] if self._expected[:1] == [token_id] else []
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
        self._thread = ThreadPoolExecutor(1, "masks")
        self._filling: Future[None] | None = None

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
            spell=self.compiler.spell,
            end_ids=end_ids,
            ends=pack(end_ids, words=self.compiler.words),
            bad_words=None if word_set is None else BadWords(word_set, generated_token_ids),
        )

    def masks(self, constraints: Sequence[Constraint]) -> torch.Tensor:
        """What each sequence may generate next: [R, W / 32] of int32 on the device. Good until the next call."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.result()
        masks = self._masks[: len(constraints)]
        torch.stack([constraint.mask() for constraint in constraints], out=masks)
        return masks[:, :-1].to(self._device, non_blocking=True)

    def prepare(self, constraints: Sequence[Constraint]) -> None:
        """Begin to make the masks of the next step, beside what the engine does until then. Until `masks` has been
        called, the constraints must not be touched."""

        @torch.inference_mode()  # as in the engine's own thread
        def fill() -> None:
            for constraint in constraints:
                constraint.mask()

        self._filling = self._thread.submit(fill)
