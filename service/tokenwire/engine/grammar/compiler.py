"""Grammars of llguidance (https://github.com/guidance-ai/llguidance) over a model's tokens. Imports no torch."""

import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Protocol

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from tokenwire.engine.protocol import GrammarError, Vocabulary

MAX_ERROR_LENGTH = 300
_LIMITS = LLParserLimits(
    max_items_in_row=4000,  # an object of 1,000 optional properties
    step_lexer_fuel=100_000,  # about 7 ms
    step_max_items=5_000,  # about 20 ms where a grammar is ambiguous, else far less
    max_lexer_states=20_000,  # of up to 2 KiB, in each sequence
    verbose_errors=False,  # they would print the grammar and the parser's state
)
# Forced text would come in tokens of llguidance's choice. As it is, the model spells it in its own, and bias and bad
# words leave it other ways. The last such line of a grammar counts, so a caller's own does not.
_OPTIONS = '\n%llguidance {"no_forcing": true}\n'
_POSITION = re.compile(r"^(at )?\d+\(\d+\): ")
_ADVICE = re.compile(r" Enable '\w+' option.*")
"""On options that callers cannot set."""
_EXCERPT = re.compile(r"\n +\d+ \| .*|\s*<non-verbose/>\s*", re.DOTALL)


class Grammar(Protocol):
    """A compiled grammar."""

    def deep_copy(self) -> LLMatcher:
        """A matcher at the beginning of a text."""
        ...

    def compute_bitmask(self) -> bytes:
        """Which tokens may come first."""
        ...


class GrammarCompiler:
    """Compiles grammars over a vocabulary.

    The masks of its matchers have a bit a token, in `words` little-endian int32. Bit `end` stands for the end of the
    text, which llguidance so never confuses with a token of the model.
    """

    def __init__(self, vocabulary: Vocabulary, *, width: int) -> None:
        """`width`: a multiple of 32, at least the number of tokens."""
        self.end = width
        self.words = width // 32 + 1
        self._tokenizer = _make_tokenizer(vocabulary, num_tokens=self.words * 32, end=width)

    def compile(self, grammar: str) -> Grammar:
        """Raises `GrammarError`. Takes milliseconds to seconds, without the GIL."""
        return _compile(self._tokenizer, grammar)

    def spell(self, text: bytes) -> list[int]:
        """Tokens that make up a text, the longest that fits first: mostly those that a model would take."""
        return self._tokenizer.greedy_tokenize(text.decode(errors="ignore"))


class _Tokens:
    """What llguidance asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes], *, special_token_ids: Sequence[int], end: int) -> None:
        self.tokens = tokens
        self.special_token_ids = special_token_ids
        self.eos_token_id = end

    def __call__(self, text: str) -> list[int]:
        raise NotImplementedError("llguidance tokenises forced text only, and nothing is forced")


def _make_tokenizer(vocabulary: Vocabulary, *, num_tokens: int, end: int) -> LLTokenizer:
    tokens = [*vocabulary.token_bytes, *[b""] * (num_tokens - len(vocabulary.token_bytes))]
    special = sorted(vocabulary.special_token_ids.union(vocabulary.eos_token_ids))
    wrapper = _Tokens(tokens, special_token_ids=special, end=end)
    return LLTokenizer(wrapper)  # type: ignore[arg-type]


@cache
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")


@lru_cache(maxsize=64)
def bytewise(grammar: str) -> LLMatcher:
    """At the beginning of a text of bytes, not of a model's tokens; to be copied. Raises `GrammarError`."""
    return _compile(_byte_tokenizer(), grammar)


def _compile(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    matcher = LLMatcher(tokenizer, _with_options(grammar), log_level=0, limits=_LIMITS)
    if matcher.is_error():
        raise GrammarError(error_text(matcher.get_error()))
    return matcher


def _with_options(grammar: str) -> str:
    """A Lark grammar, or a JSON list of them, as `tokenwire.chat.constraint.rule` writes it, with our options."""
    if not grammar.startswith("{"):
        return grammar + _OPTIONS
    try:
        grammars = json.loads(grammar)["grammars"]
        with_options = [{**each, "lark_grammar": each["lark_grammar"] + _OPTIONS} for each in grammars]
        return json.dumps({"grammars": with_options})
    except (ValueError, KeyError, TypeError) as error:
        raise GrammarError(f"not a list of Lark grammars: {error}") from None


def error_text(message: str) -> str:
    """llguidance's message without the excerpt of the grammar that it prints, at most `MAX_ERROR_LENGTH` characters."""
    text = _POSITION.sub("", _ADVICE.sub("", _EXCERPT.sub("", message))).strip() or "it cannot be enforced"
    if len(text) > MAX_ERROR_LENGTH:  # a regex comes before what is wrong with it
        half = MAX_ERROR_LENGTH // 2 - 1
        text = f"{text[:half]} … {text[-half + 1 :]}"
    return text
