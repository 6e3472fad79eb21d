"""The log-probabilities of the legacy API: columns over all tokens of a text, with their places in it."""

import codecs
import math
from collections.abc import Iterable, Mapping

from tokenwire.rest.chat.answers import MINUS_INFINITY, JsonObject
from tokenwire.v1.chat_pb2 import TokenLogprob, TopLogprob


class LogprobColumns:
    """Takes the tokens of one text in order. Offsets are in characters of that text."""

    def __init__(self) -> None:
        self._num_characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._columns: dict[str, list[object]] = _empty()

    def add_first(self, token: str, *, is_in_text: bool) -> None:
        """The first token of a prompt, which nothing comes before: it has no probability. One that the tokenizer puts
        before every text is not in the text."""
        self._add(token, None, None)
        self._num_characters += len(token) if is_in_text else 0

    def add(self, tokens: Iterable[TokenLogprob]) -> None:
        """Tokens with their probabilities."""
        for token in tokens:
            # The chosen token is always there, which makes one more than asked where it was not likely.
            likely: list[TokenLogprob | TopLogprob] = [*token.top_logprobs, token]
            top = {_text(each): _finite(each.logprob) for each in likely}
            self._add(_text(token), _finite(token.logprob), top)
            self._num_characters += len(self._decoder.decode(token.bytes))

    def take(self) -> JsonObject:
        """What was added since it was last asked."""
        columns, self._columns = self._columns, _empty()
        return dict(columns)

    def _add(self, token: str, logprob: float | None, top: Mapping[str, float] | None) -> None:
        row = {"text_offset": self._num_characters, "tokens": token, "token_logprobs": logprob, "top_logprobs": top}
        for name, value in row.items():
            self._columns[name].append(value)


def _empty() -> dict[str, list[object]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def _text(token: TokenLogprob | TopLogprob) -> str:
    """As OpenAI spells it: bytes that are not UTF-8 by themselves in hexadecimal."""
    try:
        return token.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else MINUS_INFINITY
