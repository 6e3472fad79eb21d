"""Stream event → events of the Responses API, and the response that they add up to."""

from collections.abc import Iterator, Mapping

from tokenwire.errors import TokenwireError
from tokenwire.rest.chat.answers import token_logprobs_json
from tokenwire.rest.responses.answers import JsonObject, ResponseObject, error_event, item_suffix
from tokenwire.rest.responses.content_tokens import ContentTokens
from tokenwire.rest.responses.output import CallItem, MessageItem, OutputItem, ReasoningItem
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, Completed, Delta, FinishReason, Started, ToolCallDelta

_CUT = (FinishReason.FINISH_REASON_LENGTH, FinishReason.FINISH_REASON_TIME_LIMIT)


class ResponseEvents:
    """Makes the events of one response, in order and numbered. One item is open at a time: reasoning, then the message,
    then the calls."""

    def __init__(self, started: Started, asked: Mapping[str, object], *, logprobs: bool) -> None:
        """`asked` is what of the request the response repeats; `logprobs` whether log-probabilities were asked."""
        self._response = ResponseObject(started, asked)
        self._suffix = item_suffix(started)
        self._tokens = ContentTokens() if logprobs else None
        self._open: OutputItem | None = None
        self._done: list[JsonObject] = []
        self._completed = Completed()
        self._is_cut = False
        self._num_events = 0

    def opening(self) -> Iterator[JsonObject]:
        """Before any output."""
        yield self._numbered({"type": "response.created", "response": self._response.in_progress()})
        yield self._numbered({"type": "response.in_progress", "response": self._response.in_progress()})

    def events(self, event: ChatCompletionEvent) -> Iterator[JsonObject]:
        """Those of an event after `started`; the last of the response is not among them."""
        match event.WhichOneof("event"):
            case "delta":
                yield from map(self._numbered, self._deltas(event.delta))
            case "finished":
                self._is_cut = event.finished.finish_reason in _CUT
                yield from map(self._numbered, self._finish())
            case "completed":
                self._completed = event.completed

    def last(self) -> JsonObject:
        """The last one, behind `completed`: it has the whole response."""
        kind = "response.incomplete" if self._is_cut else "response.completed"
        response = self._response.ended(self._done, self._completed, is_cut=self._is_cut)
        return self._numbered({"type": kind, "response": response})

    def failure(self, error: TokenwireError) -> Iterator[JsonObject]:
        """Instead of what would have come: the error, and the response as far as it got."""
        output = [*self._done, self._open.json("incomplete")] if self._open else self._done
        told = error_event(error)
        yield self._numbered(told)
        response = self._response.failed(output, error, message=told["message"])
        yield self._numbered({"type": "response.failed", "response": response})

    def _numbered(self, event: JsonObject) -> JsonObject:
        number = self._num_events
        self._num_events += 1
        return {**event, "sequence_number": number}

    def _deltas(self, delta: Delta) -> Iterator[JsonObject]:
        tokens = self._tokens.push(delta) if self._tokens else []
        if delta.reasoning:
            reasoning = self._open
            if not isinstance(reasoning, ReasoningItem):
                reasoning = ReasoningItem(self._next_id("rs"))
                yield from self._begin(reasoning)
            yield self._placed(reasoning.append(delta.reasoning))
        if delta.content or tokens:
            message = self._open
            if not isinstance(message, MessageItem):
                message = MessageItem(self._next_id("msg"))
                yield from self._begin(message)
            yield self._placed(message.append(delta.content, token_logprobs_json(tokens)))
        for part in delta.tool_calls:
            yield from self._call(part)

    def _call(self, part: ToolCallDelta) -> Iterator[JsonObject]:
        call = self._open
        if part.id or not isinstance(call, CallItem):  # the first part of a call has its id
            call = CallItem(self._next_id("fc"), part.id, part.name)
            yield from self._begin(call)
        if part.arguments:
            yield self._placed(call.append(part.arguments))

    def _finish(self) -> Iterator[JsonObject]:
        """An answer without any text is an empty message."""
        tokens = self._tokens.end() if self._tokens else []
        if not self._done and self._open is None:
            yield from self._begin(MessageItem(self._next_id("msg")))
        if tokens and isinstance(self._open, MessageItem):
            yield self._placed(self._open.append("", token_logprobs_json(tokens)))
        yield from self._end("incomplete" if self._is_cut else "completed")

    def _begin(self, item: OutputItem) -> Iterator[JsonObject]:
        yield from self._end("completed")
        self._open = item
        yield self._placed({"type": "response.output_item.added", "item": item.json("in_progress")})
        yield from map(self._placed, item.begin())

    def _end(self, status: str) -> Iterator[JsonObject]:
        if self._open is None:
            return
        yield from map(self._placed, self._open.end())
        done = self._open.json(status)
        yield self._placed({"type": "response.output_item.done", "item": done})
        self._open = None
        self._done.append(done)

    def _placed(self, event: JsonObject) -> JsonObject:
        """The event of the open item."""
        return {**event, "output_index": len(self._done)}

    def _next_id(self, prefix: str) -> str:
        index = len(self._done) + (self._open is not None)
        return f"{prefix}_{self._suffix}{index:02d}"
