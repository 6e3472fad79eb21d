"""Stream events of one or several prompts → JSON chunks of a legacy completion."""

from collections.abc import Iterator, Sequence

from tokenwire.rest.chat.answers import FINISH_REASONS, JsonObject, extension_json, usage_json
from tokenwire.rest.completions.answers import Echo, choice_json, envelope, total_usage
from tokenwire.rest.completions.logprobs import LogprobColumns
from tokenwire.rest.completions.merged import PromptEvent
from tokenwire.rest.completions.requests import ParsedCompletion
from tokenwire.v1.chat_pb2 import Started, TokenLogprob, Usage


class CompletionChunks:
    """A `ChunkSource`. The choices of a prompt follow those of the prompt before it."""

    def __init__(self, parsed: ParsedCompletion, started: Started, echoes: Sequence[Echo | None]) -> None:
        """`started` is that of the first prompt."""
        self._parsed = parsed
        self._started = started
        self._echoes = echoes
        self._envelope = envelope(started)
        self._columns = [LogprobColumns() for _ in range(len(echoes) * parsed.n)]
        self._usage: list[Usage] = []
        self._is_first = True

    def opening(self) -> Iterator[JsonObject]:
        """The prompts, where they are a part of the answer."""
        for prompt, echo in enumerate(self._echoes):
            if echo is None:
                continue
            for index in self._choices(prompt):
                if self._parsed.logprobs is not None:
                    echo.begin(self._columns[index])
                yield self._chunk(index, echo.text)

    def chunks(self, event: PromptEvent) -> Iterator[JsonObject]:
        """The chunks of an event after `started`."""
        index = event.prompt * self._parsed.n
        match event.event.WhichOneof("event"):
            case "prompt_logprobs" if self._parsed.echo:
                for each in self._choices(event.prompt):
                    yield self._chunk(each, "", event.event.prompt_logprobs.tokens)
            case "delta" if not self._parsed.scores_only:
                delta = event.event.delta
                yield self._chunk(index + delta.index, delta.content, delta.logprobs)
            case "finished":
                finished = event.event.finished
                reason = "length" if self._parsed.scores_only else FINISH_REASONS[finished.finish_reason]
                yield self._chunk(index + finished.index, "", finish_reason=reason)
            case "completed":
                self._usage.append(event.event.completed.usage)
                if self._parsed.include_usage and len(self._usage) == len(self._echoes):
                    usage = total_usage(self._usage, self._parsed)
                    yield {**self._envelope, "choices": [], "usage": usage_json(usage)}

    def _choices(self, prompt: int) -> range:
        return range(prompt * self._parsed.n, (prompt + 1) * self._parsed.n)

    def _chunk(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob] = (), *, finish_reason: str | None = None
    ) -> JsonObject:
        columns = self._columns[index]
        columns.add(logprobs)
        taken = columns.take()
        chunk: JsonObject = {
            **self._envelope,
            "choices": [choice_json(index, text, taken if taken["tokens"] else None, finish_reason)],
        }
        if self._parsed.include_usage:
            chunk["usage"] = None
        if self._is_first:
            self._is_first = False
            chunk["tokenwire"] = extension_json(self._started.parameters)
        return chunk
