"""Chunks of text alone, as nearly all chunks are: what stands around the text is made once a choice."""

import json
from collections.abc import Iterator

from tokenwire.errors import TokenwireError
from tokenwire.rest.chat.chunks import ChunkWriter
from tokenwire.rest.sse import ChunkStream
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, Delta

_MARK = "text"


class TextChunks:
    """A `StreamWriter`: a `ChunkStream` of chat chunks, byte for byte, with a short way for text. The long one takes 10
    times as long."""

    def __init__(self, chunks: ChunkWriter) -> None:
        self._stream = ChunkStream(chunks)
        self._around: dict[int, tuple[bytes, bytes]] = {}
        """By choice."""

    def opening(self) -> Iterator[bytes]:
        """The role chunks."""
        return self._stream.opening()

    def pieces(self, event: ChatCompletionEvent) -> Iterator[bytes]:
        """The chunks of an event."""
        delta = event.delta
        if not delta.content or delta.reasoning or delta.tool_calls or delta.logprobs:
            return self._stream.pieces(event)
        before, after = self._around.get(delta.index) or self._make(delta.index)
        return iter((b"%b%b%b" % (before, json.dumps(delta.content).encode("ascii"), after),))

    def closing(self) -> bytes:
        """`[DONE]`."""
        return self._stream.closing()

    def failure(self, error: TokenwireError) -> bytes:
        """The error object."""
        return self._stream.failure(error)

    def _make(self, index: int) -> tuple[bytes, bytes]:
        (chunk,) = self._stream.pieces(ChatCompletionEvent(delta=Delta(index=index, content=_MARK)))
        before, _, after = chunk.rpartition(json.dumps(_MARK).encode("ascii"))
        self._around[index] = before, after
        return before, after
