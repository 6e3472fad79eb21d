"""One live completion: what the engine gives becomes the events of the stream."""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from google.protobuf.timestamp_pb2 import Timestamp

from tokenwire.chat.admission.place import Progress
from tokenwire.chat.answer.choice import ChoiceText
from tokenwire.chat.answer.logprobs import token_logprob, token_text
from tokenwire.chat.answer.reader import AnswerForm
from tokenwire.chat.caller import Caller
from tokenwire.chat.model import ServedModel
from tokenwire.chat.observer import CompletionRecord
from tokenwire.chat.timeline import Timeline
from tokenwire.engine import protocol
from tokenwire.engine.protocol import SequenceOutput
from tokenwire.errors import ConstraintFailedError, EngineFaultError
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    ChatCompletionRequest,
    Completed,
    EffectiveParameters,
    Finished,
    FinishReason,
    PromptLogprobs,
    ServiceTier,
    Started,
    Usage,
)

logger = logging.getLogger("tokenwire.chat")

_OWN_ENDS = (FinishReason.FINISH_REASON_STOP, FinishReason.FINISH_REASON_TOOL_CALLS)
"""Of choices that were not cut."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """When a request was accepted and under which id."""

    id: str
    created: Timestamp
    accepted_s: float
    """On the monotonic clock."""

    @classmethod
    def now(cls) -> "Acceptance":
        """Accept a request."""
        created = Timestamp()
        created.GetCurrentTime()
        return cls(f"chatcmpl-{secrets.token_hex(16)}", created, time.monotonic())


class Completion:
    """The state of one completion between the engine's outputs and the stream's events.

    `sequence` counts what the engine emits: one for each token (or output without a token) and one for each finish, in
    the engine's order; prompt log-probabilities of an output count like a token. Outputs of one choice that come in a
    row are one delta, with the sequence of the last.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        request: ChatCompletionRequest,
        *,
        parameters: EffectiveParameters,
        model: ServedModel,
        prompt_token_ids: Sequence[int],
        form: AnswerForm,
        service_tier: ServiceTier.ValueType,
        on_tokens: Callable[[int, float | None], None] = lambda num_tokens, seconds_each: None,
    ) -> None:
        """`form` says how to read the answer; `service_tier` is the tier in force; `on_tokens` as for `Timeline`."""
        self._acceptance = acceptance
        self._request = request
        self._form = form
        self._service_tier = service_tier
        self._parameters = parameters
        self._model = model
        self._sequence = 0
        self._choices = [
            ChoiceText(model.tokenizer, form=form, stop=request.stop, min_tokens=parameters.min_tokens)
            for _ in range(parameters.n)
        ]
        self._finished: dict[int, Finished] = {}
        self._prompt_token_ids = prompt_token_ids
        self._num_prompt_logprobs = 0
        self._cached_tokens = 0
        self._wasted_tokens = 0
        self.timeline = Timeline(acceptance.accepted_s, on_tokens=on_tokens)

    @property
    def id(self) -> str:
        """Unique id, `chatcmpl-…`."""
        return self._acceptance.id

    @property
    def done(self) -> bool:
        """Whether every choice has finished."""
        return len(self._finished) == len(self._choices)

    @property
    def usage(self) -> Usage:
        """Token counts so far. Tokens that the engine made after a stop match do not count."""
        prompt_tokens = len(self._prompt_token_ids)
        completion_tokens = sum(choice.num_tokens for choice in self._choices)
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            cached_prompt_tokens=self._cached_tokens,
            reasoning_tokens=sum(choice.num_reasoning_tokens for choice in self._choices),
            wasted_tokens=self._wasted_tokens,
        )

    def waste(self, num_tokens: int) -> None:
        """So many tokens were generated and are dropped."""
        self._wasted_tokens += num_tokens

    @property
    def progress(self) -> Progress:
        """For the queue."""
        own_ends = [finished for finished in self._finished.values() if finished.finish_reason in _OWN_ENDS]
        return Progress(
            live_choices=len(self._choices) - len(self._finished),
            tokens=sum([choice.num_tokens for choice in self._choices]),
            own_ends=len(own_ends),
        )

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Short names, in choice order, of the choices that have finished."""
        names = (FinishReason.Name(self._finished[index].finish_reason) for index in sorted(self._finished))
        return tuple(name.removeprefix("FINISH_REASON_").lower() for name in names)

    def log(self, outcome: str) -> None:
        """Write the line of its end. It has no text of the caller's or the model's, but the labels of the request."""
        usage = self.usage
        logger.info(
            "%s model=%s prompt_tokens=%d completion_tokens=%d outcome=%s seconds=%.3f tier=%s%s",
            self.id,
            self._model.id,
            usage.prompt_tokens,
            usage.completion_tokens,
            outcome,
            time.monotonic() - self._acceptance.accepted_s,
            ServiceTier.Name(self._service_tier).removeprefix("SERVICE_TIER_").lower(),
            self._labels(),
            extra={"fields": {"completion_id": self.id, "outcome": outcome}},
        )

    def _labels(self) -> str:
        """The caller's own words about the request, quoted: one line, whatever is in them."""
        labels = {"user": self._request.user, "metadata": dict(sorted(self._request.metadata.items()))}
        return "".join(f" {name}={json.dumps(label)}" for name, label in labels.items() if label)

    def record(self, caller: Caller, *, outcome: str, reason: str) -> CompletionRecord:
        """What observers are told once it has ended."""
        times = self.timeline
        return CompletionRecord(
            id=self.id,
            model=self._model.id,
            caller=caller,
            outcome=outcome,
            reason=reason,
            finish_reasons=self.finish_reasons,
            usage=self.usage,
            num_choices=self._parameters.n,
            max_tokens=self._parameters.max_completion_tokens,
            accepted_s=times.accepted_s,
            scheduled_s=times.scheduled_s,
            first_token_s=times.first_token_s,
            last_token_s=times.last_token_s,
            ended_s=time.monotonic(),
        )

    def started(self, *, resumable: bool = False) -> ChatCompletionEvent:
        """The first event."""
        started = Started(
            id=self.id,
            created=self._acceptance.created,
            model=self._model.id,
            system_fingerprint=self._model.system_fingerprint,
            prompt_tokens=len(self._prompt_token_ids),
            parameters=self._parameters,
            service_tier=self._service_tier,
            resumable=resumable,
        )
        return ChatCompletionEvent(sequence=0, started=started)

    def events(
        self, outputs: Sequence[SequenceOutput], *, abort: Callable[[int], None]
    ) -> Iterator[ChatCompletionEvent]:
        """The events of what one `receive()` gave. `abort` is told the choices that end at a stop match.

        Raises `EngineFaultError` where a sequence failed, `ConstraintFailedError` where its grammar could not go on.
        """
        self._cached_tokens = max(self._cached_tokens, *[output.cached_tokens for output in outputs])
        self.timeline.note(outputs, num_choices=len(self._choices) - len(self._finished))
        if any(output.prompt_logprobs for output in outputs):
            yield self._prompt_logprobs(outputs)
        for index, run in groupby(outputs, key=attrgetter("index")):
            if index in self._finished:  # what the engine made before it heard of the abort
                self._wasted_tokens += _num_tokens(run)
                continue
            finished = self._feed(index, run, abort)
            if finished is not None:
                yield from self._finish(finished)
            elif (delta := self._choices[index].take(index)) is not None:
                yield ChatCompletionEvent(sequence=self._sequence, delta=delta)

    def cut(self) -> Iterator[ChatCompletionEvent]:
        """The events of an end before its time: choices that have not finished give what they hold back."""
        for index, choice in enumerate(self._choices):
            if index in self._finished:
                continue
            choice.end()
            self._sequence += 1  # the tokens whose text it held back may have given some of it already
            reason = FinishReason.FINISH_REASON_TIME_LIMIT if choice.match is None else FinishReason.FINISH_REASON_STOP
            yield from self._finish(Finished(index=index, finish_reason=reason, stop_match=choice.match or ""))

    def completed(self) -> ChatCompletionEvent:
        """The last event."""
        completed = Completed(usage=self.usage, timings=self.timeline.timings)
        return ChatCompletionEvent(sequence=self._sequence + 1, completed=completed)

    def _finish(self, finished: Finished) -> Iterator[ChatCompletionEvent]:
        """The last events of a choice."""
        index = finished.index
        if (delta := self._choices[index].take(index)) is not None:
            yield ChatCompletionEvent(sequence=self._sequence, delta=delta)
        self._finished[index] = finished
        self._sequence += 1
        yield ChatCompletionEvent(sequence=self._sequence, finished=finished)

    def _prompt_logprobs(self, outputs: Sequence[SequenceOutput]) -> ChatCompletionEvent:
        """Those of the next prompt tokens. They all come before the first token of any choice."""
        event = PromptLogprobs()
        for output in outputs:
            self._sequence += bool(output.prompt_logprobs)
            for logprobs in output.prompt_logprobs:
                self._num_prompt_logprobs += 1
                token_id = self._prompt_token_ids[self._num_prompt_logprobs]
                token_bytes = self._model.tokenizer.token_bytes(token_id)  # the prompt's text has control tokens, too
                event.tokens.append(token_logprob(self._model.tokenizer, token_id, logprobs, token_bytes=token_bytes))
        return ChatCompletionEvent(sequence=self._sequence, prompt_logprobs=event)

    def _feed(self, index: int, run: Iterator[SequenceOutput], abort: Callable[[int], None]) -> Finished | None:
        """Give a choice its outputs, up to the one that ends it."""
        choice = self._choices[index]
        takes_runs = choice.takes_runs
        tokens: list[int] = []  # of outputs that are nothing else
        for output in run:
            if takes_runs and output.token_ids and output.finish_reason is None and not output.logprobs:
                tokens += output.token_ids
                continue
            self._feed_run(choice, tokens)
            tokens = []
            self._check(output)
            self._feed_tokens(choice, output)
            if output.finish_reason is not None and choice.match is None:
                choice.end()
            if choice.match is not None:
                self._wasted_tokens += _num_tokens(run)
                if output.finish_reason is None:
                    abort(index)
                return Finished(index=index, finish_reason=FinishReason.FINISH_REASON_STOP, stop_match=choice.match)
            if output.finish_reason is not None:
                return self._engine_finish(output)
        self._feed_run(choice, tokens)
        return None

    def _check(self, output: SequenceOutput) -> None:
        """Raise where a sequence could not go on."""
        num_tokens = self._choices[output.index].num_tokens
        where = f"choice {output.index} after {num_tokens} tokens"
        if output.finish_reason in (protocol.FinishReason.FAULT, protocol.FinishReason.ABORTED):
            raise EngineFaultError(f"the engine could not go on with {where}", completion_id=self.id)
        if output.finish_reason is protocol.FinishReason.CONSTRAINT_FAILED:
            raise ConstraintFailedError(
                f"the constrained answer of {where} cannot go on: `logit_bias` and `bad_words` ban every token that it "
                "could go on with, or its grammar is too complex",
                completion_id=self.id,
            )

    def _feed_run(self, choice: ChoiceText, token_ids: Sequence[int]) -> None:
        if token_ids:
            self._sequence += len(token_ids)
            choice.push_run(token_ids)

    def _feed_tokens(self, choice: ChoiceText, output: SequenceOutput) -> None:
        last = len(output.token_ids) - 1
        ends = output.finish_reason is protocol.FinishReason.STOP
        if not output.token_ids and not output.prompt_logprobs:
            self._sequence += 1
        for position, token_id in enumerate(output.token_ids):
            self._sequence += 1
            logprobs = output.logprobs[position] if output.logprobs else None
            choice.push(token_id, logprobs, silent=ends and position == last)
            if choice.match is not None:
                self._wasted_tokens += last - position
                return

    def _engine_finish(self, output: SequenceOutput) -> Finished:
        """How a choice ended that the engine has ended."""
        if output.finish_reason is protocol.FinishReason.LENGTH:
            return Finished(index=output.index, finish_reason=FinishReason.FINISH_REASON_LENGTH)
        stop_match = (
            self._stop_token(output.token_ids[-1]) if output.finish_reason is protocol.FinishReason.STOP else ""
        )
        if self._choices[output.index].has_calls and not self._form.is_named and not stop_match:
            return Finished(index=output.index, finish_reason=FinishReason.FINISH_REASON_TOOL_CALLS)
        return Finished(index=output.index, finish_reason=FinishReason.FINISH_REASON_STOP, stop_match=stop_match)

    def _stop_token(self, token_id: int) -> str:
        """The text of a stop token that is not the end of text."""
        is_end_of_text = token_id in self._model.info.eos_token_ids and not self._request.ignore_eos
        return "" if is_end_of_text else token_text(self._model.tokenizer, token_id)


def _num_tokens(outputs: Iterable[SequenceOutput]) -> int:
    return sum([len(output.token_ids) for output in outputs])
