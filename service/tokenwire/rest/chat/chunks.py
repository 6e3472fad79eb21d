"""Stream event → JSON chunks."""

from collections.abc import Iterator

from tokenwire.rest.chat.answers import (
    FINISH_REASONS,
    JsonObject,
    extension_json,
    logprobs_json,
    service_tier_json,
    token_logprobs_json,
    usage_json,
)
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, Delta, Finished, Started, ToolCallDelta


class ChunkWriter:
    """Turns the events of one stream into chunks: a role chunk for each choice in index order, then the answers, one
    finish chunk a choice, and the usage chunk if it was asked."""

    def __init__(self, started: Started, *, include_usage: bool) -> None:
        self._started = started
        self._include_usage = include_usage
        # Equal in all chunks.
        self._envelope: JsonObject = {
            "id": started.id,
            "object": "chat.completion.chunk",
            "created": started.created.seconds,
            "model": started.model,
            "system_fingerprint": started.system_fingerprint,
            "service_tier": service_tier_json(started.service_tier),
        }

    def opening(self) -> Iterator[JsonObject]:
        """The role chunks. The first one also has the parameters in force."""
        for index in range(self._started.parameters.n):
            chunk = self._choice_chunk(index, {"role": "assistant", "content": "", "refusal": None})
            yield {**chunk, "tokenwire": extension_json(self._started.parameters)} if index == 0 else chunk

    def chunks(self, event: ChatCompletionEvent) -> Iterator[JsonObject]:
        """The chunks of an event after `started`; an event of a kind that REST does not have gives none."""
        match event.WhichOneof("event"):
            case "prompt_logprobs":  # with a choice, for many readers take the first one of every chunk
                tokens = token_logprobs_json(event.prompt_logprobs.tokens)
                yield {**self._choice_chunk(0, {}), "prompt_logprobs": tokens}
            case "delta":
                yield from self._deltas(event.delta)
            case "finished":
                yield self._finish(event.finished)
            case "completed" if self._include_usage:
                yield {**self._envelope, "choices": [], "usage": usage_json(event.completed.usage)}

    def _deltas(self, delta: Delta) -> Iterator[JsonObject]:
        """One chunk for each kind of text: readers that look for reasoning or calls first would miss other text beside
        it. Log-probabilities, which may be of all of them, are in the first."""
        logprobs = logprobs_json(delta.logprobs) if delta.logprobs else None
        for part in _parts(delta):
            yield self._choice_chunk(delta.index, part, logprobs=logprobs)
            logprobs = None

    def _finish(self, finished: Finished) -> JsonObject:
        return self._choice_chunk(finished.index, {}, finish_reason=FINISH_REASONS[finished.finish_reason])

    def _choice_chunk(
        self, index: int, delta: JsonObject, *, logprobs: JsonObject | None = None, finish_reason: str | None = None
    ) -> JsonObject:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk: JsonObject = {**self._envelope, "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk


def _parts(delta: Delta) -> Iterator[JsonObject]:
    if delta.reasoning:
        yield {"reasoning_content": delta.reasoning}
    if delta.content or not (delta.reasoning or delta.tool_calls):
        yield {"content": delta.content}
    if delta.tool_calls:
        yield {"tool_calls": [_tool_call(part) for part in delta.tool_calls]}


def _tool_call(part: ToolCallDelta) -> JsonObject:
    """Id, type and name come once: readers join what comes twice."""
    if not part.id:
        return {"index": part.index, "function": {"arguments": part.arguments}}
    function = {"name": part.name, "arguments": part.arguments}
    return {"index": part.index, "id": part.id, "type": "function", "function": function}
