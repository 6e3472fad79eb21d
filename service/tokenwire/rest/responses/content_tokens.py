"""Which of a choice's tokens are those of its content: log-probabilities are of tags, reasoning and calls, too."""

from collections.abc import Iterator

from tokenwire.v1.chat_pb2 import Delta, TokenLogprob


class ContentTokens:
    """Takes the deltas of one choice. Reasoning comes before all content and calls behind it; the bytes of the tokens
    say where one ends. The tokens found do not depend on how deltas were merged."""

    def __init__(self) -> None:
        self._pending: list[TokenLogprob] = []
        self._num_bytes = 0
        """Of the content."""
        self._num_found = 0
        """Bytes of the tokens found."""
        self._begins_later = False
        """Other tokens come before those of the content."""
        self._beginning = b""
        """Of the content, as long as its first token is looked for."""

    def push(self, delta: Delta) -> list[TokenLogprob]:
        """The tokens that are known to be of the content, now."""
        self._pending.extend(delta.logprobs)
        content = delta.content.encode()
        self._num_bytes += len(content)
        self._begins_later |= bool(delta.reasoning)
        if self._begins_later:
            self._beginning += content
            self._pending = self._pending[self._num_before_content() :]
            self._begins_later = not (self._beginning and self._pending)
        found = list(self._take_within_text())
        if delta.tool_calls:
            self._pending.clear()
        return found

    def end(self) -> list[TokenLogprob]:
        """The last ones, where no call came: those of an end of text among them."""
        rest, self._pending = self._pending, []
        return rest

    def _take_within_text(self) -> Iterator[TokenLogprob]:
        num_taken = 0
        for token in self._pending:
            if self._num_found >= self._num_bytes:
                break
            self._num_found += len(token.bytes)
            num_taken += 1
            yield token
        del self._pending[:num_taken]

    def _num_before_content(self) -> int:
        """How many of the pending tokens come before the first one that the text begins with."""
        text = self._beginning
        if not text:
            return len(self._pending)
        joined = b"".join(token.bytes for token in self._pending)
        start = 0
        for index, token in enumerate(self._pending):
            if joined.startswith(text, start) or text.startswith(joined[start : start + len(text)]):
                return index
            start += len(token.bytes)
        return len(self._pending)
