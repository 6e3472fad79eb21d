"""Token ids to text, one token at a time: what comes out, joined, is the text of decoding all of them at once."""

import codecs
from collections.abc import Iterable

from tokenwire.chat.tokenizer import ChatTokenizer, strip_leading_spaces


class Detokenizer:
    """Turns the tokens of one choice into text and never gives a part of a code point.

    It joins the tokens' bytes and decodes those. `tokenizers`' `DecodeStream` is not used: its text depends on where
    its window begins (a leading space, an invalid sequence), so its pieces do not always add up to the whole.
    In one case `tokenizers` itself decodes differently: where a run of byte-fallback tokens is not valid UTF-8, it
    replaces the whole run by U+FFFD, valid characters included, which no stream could take back. We replace the
    invalid bytes only, in the stream and in `ChatTokenizer.decode` alike.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, *, marks: Iterable[str] = (), keeps_leading_spaces: bool = False
    ) -> None:
        """Special tokens have text only where they stand in `marks`."""
        self._tokenizer = tokenizer
        pieces = (piece for mark in marks for piece in tokenizer.special_pieces(mark))
        self._marks = frozenset(piece for piece in pieces if isinstance(piece, int))
        self._leading_spaces = 0 if keeps_leading_spaces else tokenizer.leading_spaces
        self._partial = b""

    def take_bytes(self, token_id: int) -> bytes:
        """The bytes that this token adds to the text; special tokens add none. To be followed by `decode`."""
        if self._tokenizer.is_special(token_id) and token_id not in self._marks:
            return b""
        raw = self._tokenizer.token_bytes(token_id)
        if raw and self._leading_spaces:
            raw, self._leading_spaces = strip_leading_spaces(raw, self._leading_spaces), 0
        return raw

    def take_run(self, token_ids: Iterable[int]) -> bytes:
        """The bytes that these tokens add to the text, joined."""
        if self._marks or self._leading_spaces:
            return b"".join(map(self.take_bytes, token_ids))
        return self._tokenizer.text_bytes(token_ids)

    def decode(self, raw: bytes) -> str:
        """The text that these bytes complete."""
        return self._decode(raw, is_last=False)

    def push(self, token_id: int) -> str:
        """The text that this token completes."""
        return self.decode(self.take_bytes(token_id))

    @property
    def has_partial(self) -> bool:
        """Whether bytes wait for the rest of their code point."""
        return bool(self._partial)

    def flush(self) -> str:
        """The tokens have ended: an incomplete code point becomes U+FFFD."""
        return self._decode(b"", is_last=True)

    def _decode(self, raw: bytes, *, is_last: bool) -> str:
        # What `codecs.getincrementaldecoder("utf-8")` does, without its three calls of Python code.
        data = self._partial + raw
        text, num_decoded = codecs.utf_8_decode(data, "replace", is_last)
        self._partial = data[num_decoded:]
        return text
