"""The items of an answer while they are written: each tells its events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

JsonObject = dict[str, object]


class OutputItem(Protocol):
    """One item. Its events lack the numbers that place them in the response."""

    def json(self, status: str) -> JsonObject:
        """The item as far as it has come: `in_progress`, `completed` or `incomplete`."""

    def begin(self) -> Iterator[JsonObject]:
        """The events between that of the item's beginning and its text."""

    def end(self) -> Iterator[JsonObject]:
        """The events between its text and that of the item's end."""


@dataclass(slots=True)
class MessageItem:
    """What the model says."""

    id: str
    text: list[str] = field(default_factory=list)
    logprobs: list[JsonObject] = field(default_factory=list)

    def json(self, status: str) -> JsonObject:
        content = [self._part()] if self.text or status != "in_progress" else []
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}

    def begin(self) -> Iterator[JsonObject]:
        yield _of_part("response.content_part.added", self.id, part=self._part())

    def append(self, text: str, logprobs: Sequence[JsonObject]) -> JsonObject:
        """More of it, with the log-probabilities of its tokens if they were asked."""
        self.text.append(text)
        self.logprobs.extend(logprobs)
        return _of_part("response.output_text.delta", self.id, delta=text, logprobs=list(logprobs))

    def end(self) -> Iterator[JsonObject]:
        part = self._part()
        yield _of_part("response.output_text.done", self.id, text=part["text"], logprobs=part["logprobs"])
        yield _of_part("response.content_part.done", self.id, part=part)

    def _part(self) -> JsonObject:
        return {"type": "output_text", "text": "".join(self.text), "annotations": [], "logprobs": list(self.logprobs)}


@dataclass(slots=True)
class ReasoningItem:
    """What the model thinks before."""

    id: str
    text: list[str] = field(default_factory=list)

    def json(self, status: str) -> JsonObject:
        content = [self._part()] if self.text else []
        return {
            "id": self.id,
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": content,
            "encrypted_content": None,
        }

    def begin(self) -> Iterator[JsonObject]:
        yield _of_part("response.content_part.added", self.id, part=self._part())

    def append(self, text: str) -> JsonObject:
        """More of it."""
        self.text.append(text)
        return _of_part("response.reasoning_text.delta", self.id, delta=text)

    def end(self) -> Iterator[JsonObject]:
        part = self._part()
        yield _of_part("response.reasoning_text.done", self.id, text=part["text"])
        yield _of_part("response.content_part.done", self.id, part=part)

    def _part(self) -> JsonObject:
        return {"type": "reasoning_text", "text": "".join(self.text)}


@dataclass(slots=True)
class CallItem:
    """A call of a function."""

    id: str
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def json(self, status: str) -> JsonObject:
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "".join(self.arguments),
        }

    def begin(self) -> Iterator[JsonObject]:
        yield from ()

    def append(self, arguments: str) -> JsonObject:
        """More of its arguments."""
        self.arguments.append(arguments)
        return {"type": "response.function_call_arguments.delta", "item_id": self.id, "delta": arguments}

    def end(self) -> Iterator[JsonObject]:
        arguments = "".join(self.arguments)
        yield {
            "type": "response.function_call_arguments.done",
            "item_id": self.id,
            "name": self.name,
            "arguments": arguments,
        }


def _of_part(kind: str, item_id: str, **fields: object) -> JsonObject:
    """An event of the one part that an item has."""
    return {"type": kind, "item_id": item_id, "content_index": 0, **fields}
