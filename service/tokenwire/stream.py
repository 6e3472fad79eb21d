"""The grammar of a completion stream: a checker for it, and the folding of a stream into the unary answer.

started (delta | finished)* completed: exactly one `finished` a choice, after its deltas; `sequence` strictly increases.
"""

from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, Delta, Finished, FinishReason, Started


class StreamGrammarError(Exception):
    """A stream broke its grammar: a defect of the server, or of something between it and the reader."""


class StreamChecker:
    """Checks one stream, event by event. An event of a kind that it does not know passes."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._open_choices: set[int] | None = None
        self._completed = False

    def check(self, event: ChatCompletionEvent) -> None:
        """Take the next event. Raises `StreamGrammarError` where it may not stand."""
        kind = event.WhichOneof("event")
        if self._completed:
            raise StreamGrammarError(f"event {kind!r} after `completed`")
        if self._sequence is not None and event.sequence <= self._sequence:
            raise StreamGrammarError(f"sequence {event.sequence} after {self._sequence}")
        self._sequence = event.sequence
        match kind:
            case "started":
                self._check_started(event.started)
            case "delta":
                self._check_open(event.delta.index, kind)
            case "finished":
                self._check_finished(event.finished)
            case "completed":
                self._check_completed()

    def end(self) -> None:
        """The stream ended with status OK. Raises `StreamGrammarError` if it was not complete."""
        if not self._completed:
            raise StreamGrammarError("the stream ended OK without `completed`")

    def _check_started(self, started: Started) -> None:
        if self._open_choices is not None:
            raise StreamGrammarError("a second `started`")
        self._open_choices = set(range(started.parameters.n))

    def _check_open(self, index: int, kind: str) -> set[int]:
        if self._open_choices is None:
            raise StreamGrammarError(f"{kind!r} before `started`")
        if index not in self._open_choices:
            raise StreamGrammarError(f"{kind!r} for choice {index}, which is finished or was never asked")
        return self._open_choices

    def _check_finished(self, finished: Finished) -> None:
        self._check_open(finished.index, "finished").remove(finished.index)
        if finished.finish_reason == FinishReason.FINISH_REASON_UNSPECIFIED:
            raise StreamGrammarError(f"choice {finished.index} finished without a reason")

    def _check_completed(self) -> None:
        if self._open_choices is None:
            raise StreamGrammarError("`completed` before `started`")
        if self._open_choices:
            raise StreamGrammarError(f"`completed` while choices {sorted(self._open_choices)} are open")
        self._completed = True


class StreamFolder:
    """Folds a stream into the answer that the unary call gives. Does not check the grammar."""

    def __init__(self) -> None:
        self._completion = ChatCompletion()
        self._contents: list[list[str]] = []

    def add(self, event: ChatCompletionEvent) -> None:
        """Take the next event."""
        match event.WhichOneof("event"):
            case "started":
                self._start(event.started)
            case "delta":
                self._append(event.delta)
            case "finished":
                choice = self._completion.choices[event.finished.index]
                choice.finish_reason = event.finished.finish_reason
                choice.stop_match = event.finished.stop_match
            case "completed":
                self._completion.usage.CopyFrom(event.completed.usage)
                self._completion.timings.CopyFrom(event.completed.timings)

    @property
    def completion(self) -> ChatCompletion:
        """The answer so far. The message is the folder's own: it changes with the next event."""
        for choice, texts in zip(self._completion.choices, self._contents, strict=True):
            if len(texts) > 1:
                texts[:] = ["".join(texts)]
            choice.content = texts[0] if texts else ""
        return self._completion

    def _start(self, started: Started) -> None:
        self._completion.id = started.id
        self._completion.created.CopyFrom(started.created)
        self._completion.model = started.model
        self._completion.system_fingerprint = started.system_fingerprint
        self._completion.parameters.CopyFrom(started.parameters)
        self._completion.usage.prompt_tokens = started.prompt_tokens
        for index in range(started.parameters.n):
            self._completion.choices.add(index=index)
            self._contents.append([])

    def _append(self, delta: Delta) -> None:
        self._contents[delta.index].append(delta.content)
        self._completion.choices[delta.index].logprobs.extend(delta.logprobs)
