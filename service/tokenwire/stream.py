"""The grammar of a completion stream: a checker for it, and the folding of a stream into the unary answer.

started prompt_logprobs* (delta | finished)* completed: exactly one `finished` a choice, after its deltas; `sequence`
strictly increases. Heartbeats may stand anywhere after `started`, with the sequence of the event before them. In a
choice, reasoning comes before content, and one tool call after the other.
"""

from dataclasses import dataclass

from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, Delta, Finished, FinishReason, Started


class StreamGrammarError(Exception):
    """A stream broke its grammar: a defect of the server, or of something between it and the reader."""


class StreamChecker:
    """Checks one stream, event by event. An event of a kind that it does not know passes."""

    def __init__(self, *, after_sequence: int | None = None) -> None:
        """`after_sequence`: the stream is the rest of one, after this event; what came before it is not known."""
        self._sequence = after_sequence
        self._is_rest = after_sequence is not None
        self._open_choices: dict[int, _OpenChoice] | None = {} if self._is_rest else None
        self._finished: set[int] = set()
        self._answering = False
        self._completed = False

    def check(self, event: ChatCompletionEvent) -> None:
        """Take the next event. Raises `StreamGrammarError` where it may not stand."""
        kind = event.WhichOneof("event")
        if self._completed:
            raise StreamGrammarError(f"event {kind!r} after `completed`")
        if kind == "heartbeat":
            self._check_heartbeat(event.sequence)
            return
        if self._sequence is not None and event.sequence <= self._sequence:
            raise StreamGrammarError(f"sequence {event.sequence} after {self._sequence}")
        self._sequence = event.sequence
        match kind:
            case "started":
                self._check_started(event.started)
            case "prompt_logprobs":
                self._check_prompt_logprobs()
            case "delta":
                self._check_open(event.delta.index, kind)[event.delta.index].check(event.delta)
                self._answering = True
            case "finished":
                self._check_finished(event.finished)
            case "completed":
                self._check_completed()

    def end(self) -> None:
        """The stream ended with status OK. Raises `StreamGrammarError` if it was not complete."""
        if not self._completed:
            raise StreamGrammarError("the stream ended OK without `completed`")

    def _check_heartbeat(self, sequence: int) -> None:
        if sequence != self._sequence:
            raise StreamGrammarError(f"a heartbeat of sequence {sequence} after {self._sequence}")

    def _check_started(self, started: Started) -> None:
        if self._open_choices is not None:
            raise StreamGrammarError("a second `started`")
        self._open_choices = {index: _OpenChoice() for index in range(started.parameters.n)}

    def _check_prompt_logprobs(self) -> None:
        if self._open_choices is None:
            raise StreamGrammarError("'prompt_logprobs' before `started`")
        if self._answering:
            raise StreamGrammarError("'prompt_logprobs' after an answer began")

    def _check_open(self, index: int, kind: str) -> "dict[int, _OpenChoice]":
        if self._open_choices is None:
            raise StreamGrammarError(f"{kind!r} before `started`")
        if self._is_rest and index not in self._finished:
            self._open_choices.setdefault(index, _OpenChoice(num_calls=None))
        if index not in self._open_choices:
            raise StreamGrammarError(f"{kind!r} for choice {index}, which is finished or was never asked")
        return self._open_choices

    def _check_finished(self, finished: Finished) -> None:
        self._check_open(finished.index, "finished").pop(finished.index)
        self._finished.add(finished.index)
        self._answering = True
        if finished.finish_reason == FinishReason.FINISH_REASON_UNSPECIFIED:
            raise StreamGrammarError(f"choice {finished.index} finished without a reason")

    def _check_completed(self) -> None:
        if self._open_choices is None:
            raise StreamGrammarError("`completed` before `started`")
        if self._open_choices:
            raise StreamGrammarError(f"`completed` while choices {sorted(self._open_choices)} are open")
        self._completed = True


@dataclass(slots=True)
class _OpenChoice:
    """What the deltas of one choice had so far."""

    has_content: bool = False
    num_calls: int | None = 0
    """None: not known."""

    def check(self, delta: Delta) -> None:
        if delta.reasoning and self.has_content:
            raise StreamGrammarError(f"reasoning after the content of choice {delta.index}")
        self.has_content |= bool(delta.content)
        for part in delta.tool_calls:
            if self.num_calls is None:
                self.num_calls = part.index if part.id else part.index + 1
            if part.index not in (self.num_calls - 1, self.num_calls):
                raise StreamGrammarError(f"tool call {part.index} of choice {delta.index} is out of order")
            is_first = part.index == self.num_calls
            if (bool(part.id), bool(part.name)) != (is_first, is_first):
                raise StreamGrammarError(f"id and name of tool call {part.index} belong in its first part only")
            self.num_calls += is_first


class StreamFolder:
    """Folds a stream into the answer that the unary call gives. Does not check the grammar.

    Of the rest of a stream it makes what the rest has of the answer.
    """

    def __init__(self) -> None:
        self._completion = ChatCompletion()
        self._texts: list[_ChoiceTexts] = []

    def add(self, event: ChatCompletionEvent) -> None:
        """Take the next event."""
        match event.WhichOneof("event"):
            case "started":
                self._start(event.started)
            case "prompt_logprobs":
                self._completion.prompt_logprobs.extend(event.prompt_logprobs.tokens)
            case "delta":
                self._append(event.delta)
            case "finished":
                self._add_choices(event.finished.index + 1)
                choice = self._completion.choices[event.finished.index]
                choice.finish_reason = event.finished.finish_reason
                choice.stop_match = event.finished.stop_match
            case "completed":
                self._completion.usage.CopyFrom(event.completed.usage)
                self._completion.timings.CopyFrom(event.completed.timings)

    @property
    def completion(self) -> ChatCompletion:
        """The answer so far. The message is the folder's own: it changes with the next event."""
        for choice, texts in zip(self._completion.choices, self._texts, strict=True):
            choice.content = texts.content.joined()
            choice.reasoning = texts.reasoning.joined()
            for call, arguments in zip(choice.tool_calls, texts.arguments, strict=True):
                call.function.arguments = arguments.joined()
        return self._completion

    def _start(self, started: Started) -> None:
        self._completion.id = started.id
        self._completion.created.CopyFrom(started.created)
        self._completion.model = started.model
        self._completion.system_fingerprint = started.system_fingerprint
        self._completion.parameters.CopyFrom(started.parameters)
        self._completion.service_tier = started.service_tier
        self._completion.usage.prompt_tokens = started.prompt_tokens
        self._add_choices(started.parameters.n)

    def _add_choices(self, count: int) -> None:
        """There are at least so many."""
        for index in range(len(self._texts), count):
            self._completion.choices.add(index=index)
            self._texts.append(_ChoiceTexts())

    def _append(self, delta: Delta) -> None:
        self._add_choices(delta.index + 1)
        choice, texts = self._completion.choices[delta.index], self._texts[delta.index]
        texts.content.append(delta.content)
        texts.reasoning.append(delta.reasoning)
        choice.logprobs.extend(delta.logprobs)
        for part in delta.tool_calls:
            while part.index >= len(choice.tool_calls):
                choice.tool_calls.add()
                texts.arguments.append(_Text())
            if part.id:
                choice.tool_calls[part.index].id = part.id
                choice.tool_calls[part.index].function.name = part.name
            texts.arguments[part.index].append(part.arguments)


class _Text:
    """A text that arrives in pieces."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def append(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)

    def joined(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class _ChoiceTexts:
    """The texts of one choice."""

    def __init__(self) -> None:
        self.content = _Text()
        self.reasoning = _Text()
        self.arguments: list[_Text] = []  # one a tool call
