"""Whether a client gave what it should: the expectations of a case, and what holds of every call."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import MessageToString

from clients.conformance.case import Call, Case, Expectation, ExpectedError, replaced
from clients.conformance.twists import SeenCall
from tokenwire.stream import StreamChecker, StreamFolder, StreamGrammarError
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent

ANY = "$any"
"""In the table: the field is there."""
STREAMS = ("StreamChatCompletion", "ResumeChatCompletion")


def problems(case: Case, result: Any, calls: Sequence[SeenCall], known: Mapping[str, str]) -> Iterator[str]:
    """All that is wrong with a `Result`; `calls` are what the server saw and sent, `known` what `$id` stands for."""
    yield from _error_problems(case.expect, result)
    if case.call.method in ("stream", "resume"):
        yield from _stream_problems(case, result, [call for call in calls if call.method in STREAMS])
    elif case.call.method == "create" and calls and calls[-1].answers and not result.HasField("error"):
        yield from _difference("the answer is not the one that was sent", result.completion, calls[-1].answers[0])
    yield from _answer_problems(case.expect, result, known)


def _error_problems(expect: Expectation, result: Any) -> Iterator[str]:
    error = result.error
    if expect.broken:
        if not error.is_broken_stream:
            yield f"the stream is broken ({expect.broken}), and the client says: {_text(error) or 'nothing'}"
        return
    if expect.error is None:
        if result.HasField("error"):
            yield f"an error: {_text(error)}"
        return
    if not result.HasField("error"):
        yield f"no error; {expect.error.code} {expect.error.reason} was expected"
        return
    for name, was, wanted in _error_fields(expect.error, error):
        if was != wanted:
            yield f"the error's {name} is {was!r}, not {wanted!r}: {_text(error)}"


def _error_fields(expected: ExpectedError, error: Any) -> Iterator[tuple[str, object, object]]:
    """(name, what it is, what it should be)"""
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    yield "code", *_any_of(expected.code, names.get(error.code, error.code))
    yield "is_broken_stream", error.is_broken_stream, False
    yield "reason", *_any_of(expected.reason, error.reason)
    if expected.violations is not None:
        yield "violations", [violation.field for violation in error.violations], list(expected.violations)
        yield "descriptions", all(violation.description for violation in error.violations), True
    if isinstance(expected.retry_after_s, bool):
        yield "retry_after", error.HasField("retry_after"), expected.retry_after_s
    elif expected.retry_after_s is not None:
        yield "retry_after", error.retry_after.ToMilliseconds(), round(expected.retry_after_s * 1000)
    if isinstance(expected.metadata, dict):
        yield "metadata", {key: error.metadata.get(key) for key in expected.metadata}, expected.metadata
    else:
        yield "metadata", [key for key in expected.metadata if not error.metadata.get(key)], []
    yield "message", expected.message in error.message and bool(error.message), True


def _any_of(wanted: str | Sequence[str], was: str) -> tuple[str, object]:
    """What it is, and what it should be."""
    return was, wanted if isinstance(wanted, str) else was if was in wanted else f"one of {wanted}"


def _stream_problems(case: Case, result: Any, calls: Sequence[SeenCall]) -> Iterator[str]:
    events = list(result.events)
    sent = [event for call in calls for event in call.answers]
    first = calls[0].request if calls and case.call.method == "resume" else None
    after = first.after_sequence if first is not None and first.HasField("after_sequence") else None
    if len(calls) > 1:
        strange = [event for event in events if _known(event) not in map(_known, sent)]
        if strange:
            yield f"events that were never sent: {strange}"
        yield from _grammar_problems(events, after)
    else:
        yield from _event_problems(case, events, sent, after)
    text = "".join(event.delta.content for event in events)
    if result.text != text:
        yield f"the joined text of the updates is {result.text!r}, that of the events is {text!r}"
    folder = StreamFolder()
    for event in events:
        folder.add(event)
    yield from _difference("the answer is not the folded events", result.completion, folder.completion)


def _event_problems(case: Case, events: Sequence[Any], sent: Sequence[Any], after: int | None) -> Iterator[str]:
    """One call: the client gives what was sent, up to its end or to where it left, it was cut or the grammar broke."""
    good, complaint = _checked(sent, after)
    if case.expect.broken and case.expect.broken not in complaint:
        yield f"the case is wrong: the stream was to be broken as {case.expect.broken!r}, and is {complaint!r}"
    wanted = good[: case.call.leave_after_events]
    if _may_lack_the_end(case.call, case):
        wanted = wanted[: len(events)]
    if list(map(_known, events)) != list(map(_known, wanted)):
        was, should = ("\n".join(map(_text, each)) for each in (events, wanted))
        yield f"{len(events)} events:\n{was}\nwhere {len(wanted)} were sent:\n{should}"


def _may_lack_the_end(call: Call, case: Case) -> bool:
    """What is on its way when a call is cancelled or cut may be lost."""
    return call.cancel_after_s is not None or call.timeout_s is not None or case.twist.cut is not None


def _checked(events: Sequence[Any], after: int | None) -> tuple[list[Any], str]:
    """The events before the first one that may not stand, and what is wrong; empty: nothing."""
    checker, good = StreamChecker(after_sequence=after), []
    try:
        for event in events:
            checker.check(event)
            good.append(event)
        checker.end()
    except StreamGrammarError as error:
        return good, str(error)
    return good, ""


def _grammar_problems(events: Sequence[Any], after: int | None) -> Iterator[str]:
    good, complaint = _checked(events, after)
    if len(good) < len(events):
        yield f"the events that the client gave are no stream: {complaint}"


def _answer_problems(expect: Expectation, result: Any, known: Mapping[str, str]) -> Iterator[str]:
    if expect.texts is not None:
        texts = [choice.content for choice in result.completion.choices]
        if texts != list(expect.texts):
            yield f"the texts are {texts!r}, not {list(expect.texts)!r}"
    kinds = {event.WhichOneof("event") or "unknown" for event in result.events}
    if lacking := set(expect.kinds) - kinds:
        yield f"no events of the kinds {sorted(lacking)}; there are {sorted(kinds)}"
    if expect.num_events is not None and len(result.events) != expect.num_events:
        yield f"{len(result.events)} events, not {expect.num_events}"
    for name in ("completion", "stored", "cancelled"):
        if (wanted := getattr(expect, name)) is not None:
            given = MessageToDict(getattr(result, name), preserving_proto_field_name=True)
            yield from (f"{name}{problem}" for problem in _lacks(given, replaced(wanted, known)))
    if expect.models is not None and [model.id for model in result.models] != list(expect.models):
        yield f"the models are {[model.id for model in result.models]}"


def _lacks(given: Any, wanted: Any) -> Iterator[str]:
    """What of the wanted JSON is not in the given one: mappings may have more, lists may not."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        for key, value in wanted.items():
            yield from (f".{key}{problem}" for problem in _lacks(given.get(key), value))
    elif isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
        for index, value in enumerate(wanted):
            yield from (f"[{index}]{problem}" for problem in _lacks(given[index], value))
    elif given != wanted and not (wanted == ANY and given is not None):
        yield f" is {given!r}, not {wanted!r}"


def _difference(what: str, was: Any, wanted: ChatCompletion) -> Iterator[str]:
    if _known(was) != _known(wanted):
        yield f"{what}:\n{_text(was)}\nshould be:\n{_text(wanted)}"


def _known(message: Any) -> Any:
    """A copy without the fields that the contract does not have: some runtimes drop them."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy


def _text(message: Any) -> str:
    return MessageToString(message, as_one_line=isinstance(message, ChatCompletionEvent), as_utf8=True)[:4000]
