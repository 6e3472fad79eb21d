"""One choice of a completion: its tokens become text that no stop string can reach, log-probabilities beside it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tokenwire.chat.detokenizer import Detokenizer
from tokenwire.chat.stop import StopMatcher
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.v1.chat_pb2 import TokenLogprob, TopLogprob

MINUS_INFINITY = -9999.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A log-probability and the characters of the choice's text, [start, end), that its token takes part in."""

    start: int
    end: int
    message: TokenLogprob


class ChoiceText:
    """The text of one choice, released as far as it is final.

    Log-probabilities are released with the last character of their token, so the bytes of those released begin with the
    text released. At a stop match those of tokens that lie wholly inside the match are dropped.
    """

    def __init__(self, tokenizer: ChatTokenizer, *, stop: Sequence[str], min_tokens: int) -> None:
        """Stop strings are looked for in the text that follows the first `min_tokens` tokens."""
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._matcher = StopMatcher(stop)
        self._min_tokens = min_tokens
        self._num_decoded = 0  # characters
        self._num_released = 0  # characters
        self._released: list[str] = []
        self._held: deque[_Held] = deque()
        self._released_logprobs: list[TokenLogprob] = []
        self.num_tokens = 0
        self.match: str | None = None
        """The stop string that ended the text."""

    def push(self, token_id: int, logprobs: TokenLogprobs | None = None, *, silent: bool = False) -> None:
        """Take the next token. A silent one (which ends the choice) counts but has no text."""
        self.num_tokens += 1
        start = self._num_decoded
        raw = b"" if silent else self._detokenizer.take_bytes(token_id)
        text = self._detokenizer.decode(raw)
        self._num_decoded += len(text)
        if logprobs is not None:
            end = self._num_decoded + self._detokenizer.has_partial
            self._held.append(_Held(start, end, self._message(token_id, raw, logprobs)))
        self._release(text)

    def end(self) -> None:
        """The choice got its last token: release what was held back, unless that completes a stop string."""
        text = self._detokenizer.flush()
        self._num_decoded += len(text)
        self._release(text)
        if self.match is None:
            self._add(self._matcher.flush())
            self._release_logprobs(before=self._num_decoded + 1)

    def take(self) -> tuple[str, list[TokenLogprob]]:
        """What has been released since the last call."""
        text, logprobs = "".join(self._released), self._released_logprobs
        self._released, self._released_logprobs = [], []
        return text, logprobs

    def _release(self, text: str) -> None:
        if self.num_tokens <= self._min_tokens:
            self._add(text)
        else:
            result = self._matcher.push(text)
            self._add(result.text)
            self.match = result.match
        if self.match is None:
            while self._held and self._held[0].end <= self._num_released:
                self._released_logprobs.append(self._held.popleft().message)
        else:
            self._release_logprobs(before=self._num_released)

    def _add(self, text: str) -> None:
        self._num_released += len(text)
        if text:
            self._released.append(text)

    def _release_logprobs(self, *, before: int) -> None:
        """Release those of tokens that begin before a character, drop the others."""
        self._released_logprobs += [held.message for held in self._held if held.start < before]
        self._held.clear()

    def _message(self, token_id: int, raw: bytes, logprobs: TokenLogprobs) -> TokenLogprob:
        return TokenLogprob(
            token=token_text(self._tokenizer, token_id),
            logprob=max(logprobs.logprob, MINUS_INFINITY),
            bytes=raw,
            token_id=token_id,
            top_logprobs=[self._top_message(top_id, logprob) for top_id, logprob in logprobs.top],
        )

    def _top_message(self, token_id: int, logprob: float) -> TopLogprob:
        return TopLogprob(
            token=token_text(self._tokenizer, token_id),
            logprob=max(logprob, MINUS_INFINITY),
            bytes=b"" if self._tokenizer.is_special(token_id) else self._tokenizer.token_bytes(token_id),
            token_id=token_id,
        )


def token_text(tokenizer: ChatTokenizer, token_id: int) -> str:
    """A token as text by itself; a control token by its name."""
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
