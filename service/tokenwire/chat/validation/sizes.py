"""How much text a request may have: what is longer is refused before anybody tokenises it."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

MIN_TEXT_BYTES = 1024 * 1024
_BYTES_PER_TOKEN = 16
"""A token has about 4 bytes of English, and up to some dozens of blanks; so no text that fits a context is refused."""


def max_text_bytes(context_length: int) -> int:
    """Most bytes of text, by the tokens that prompt and answer may have together."""
    return max(MIN_TEXT_BYTES, _BYTES_PER_TOKEN * context_length)


def check_sizes(request: ChatCompletionRequest, most: int) -> Iterator[Violation]:
    """The violations of too many bytes in all messages, or all tools, together, or in the text of a raw prompt."""
    yield from _check_parts("messages", request.messages, most)
    yield from _check_parts("tools", request.tools, most)
    yield from check_text("raw_prompt.text", request.raw_prompt.text, most)


def check_text(field: str, text: str, most: int) -> Iterator[Violation]:
    """The violation of too many bytes in one text."""
    yield from _check_size(field, len(text.encode()), most)


def _check_parts(field: str, parts: Sequence[Message], most: int) -> Iterator[Violation]:
    yield from _check_size(field, sum(part.ByteSize() for part in parts), most)


def _check_size(field: str, size: int, most: int) -> Iterator[Violation]:
    if size > most:
        yield Violation(field, f"`{field}` must have at most {most} bytes; got {size}", "string_above_max_length")
