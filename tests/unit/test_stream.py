"""The grammar of a stream, rule by rule, and its folding."""

from collections.abc import Iterable

import pytest

from tokenwire.stream import StreamChecker, StreamFolder, StreamGrammarError
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    Completed,
    Delta,
    EffectiveParameters,
    Finished,
    FinishReason,
    PromptLogprobs,
    Started,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)


def started(n: int = 1) -> ChatCompletionEvent:
    return ChatCompletionEvent(
        started=Started(id="chatcmpl-1", model="m", prompt_tokens=3, parameters=EffectiveParameters(n=n))
    )


def delta(content: str, index: int = 0) -> ChatCompletionEvent:
    return ChatCompletionEvent(delta=Delta(index=index, content=content, logprobs=[TokenLogprob(token=content)]))


def thought(reasoning: str) -> ChatCompletionEvent:
    return ChatCompletionEvent(delta=Delta(reasoning=reasoning))


def part(index: int, call_id: str = "", name: str = "", arguments: str = "", choice: int = 0) -> ChatCompletionEvent:
    """A part of a tool call."""
    call = ToolCallDelta(index=index, id=call_id, name=name, arguments=arguments)
    return ChatCompletionEvent(delta=Delta(index=choice, tool_calls=[call]))


def prompt_logprobs(*tokens: str) -> ChatCompletionEvent:
    logprobs = [TokenLogprob(token=token) for token in tokens]
    return ChatCompletionEvent(prompt_logprobs=PromptLogprobs(tokens=logprobs))


CALLS = [part(0, "call_1", "f"), part(0, arguments='{"a"'), part(0, arguments=": 1}"), part(1, "call_2", "g", "{}")]


def finished(index: int = 0, reason: "FinishReason.ValueType" = FinishReason.FINISH_REASON_STOP) -> ChatCompletionEvent:
    return ChatCompletionEvent(finished=Finished(index=index, finish_reason=reason, stop_match="!"))


def completed() -> ChatCompletionEvent:
    return ChatCompletionEvent(completed=Completed(usage=Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)))


def check(events: Iterable[ChatCompletionEvent], sequences: Iterable[int] | None = None) -> None:
    checker = StreamChecker()
    for event, sequence in zip(events, sequences or range(100), strict=False):
        event.sequence = sequence
        checker.check(event)
    checker.end()


def test_a_whole_stream_passes() -> None:
    check([started(2), delta("a"), delta("b", 1), finished(1), delta("c"), finished(0), completed()])


def test_reasoning_content_and_calls_pass_in_this_order() -> None:
    check([started(), prompt_logprobs("a"), thought("hm"), thought("!"), delta("a"), *CALLS, finished(), completed()])


def test_sequences_may_leave_numbers_out() -> None:
    check([started(), finished(), completed()], [0, 7, 9])


def test_an_event_of_an_unknown_kind_passes() -> None:
    check([started(), ChatCompletionEvent(), finished(), completed()])


UNSPECIFIED = FinishReason.FINISH_REASON_UNSPECIFIED


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([delta("a")], "before `started`"),
        ([finished()], "before `started`"),
        ([completed()], "before `started`"),
        ([started(), started()], "second `started`"),
        ([started(), delta("a", 1)], "choice 1"),
        ([started(), finished(), delta("a")], "choice 0"),
        ([started(), finished(), finished()], "choice 0"),
        ([started(), finished(reason=UNSPECIFIED)], "without a reason"),
        ([started(2), finished(), completed()], r"choices \[1\] are open"),
        ([started(), finished(), completed(), delta("a")], "after `completed`"),
        ([started(), delta("a"), thought("hm")], "reasoning after the content of choice 0"),
        ([started(), part(1, "call_1", "f")], "tool call 1 of choice 0 is out of order"),
        ([started(), *CALLS, part(0, arguments="{}")], "tool call 0 of choice 0 is out of order"),
        ([started(), part(0, arguments="{}")], "id and name of tool call 0"),
        ([started(), part(0, "call_1")], "id and name of tool call 0"),
        ([started(), part(0, "call_1", "f"), part(0, "call_1", arguments="{}")], "id and name of tool call 0"),
        ([prompt_logprobs("a")], "before `started`"),
        ([started(), delta("a"), prompt_logprobs("a")], "after an answer began"),
        ([started(), finished(), prompt_logprobs("a")], "after an answer began"),
        ([started(), finished()], "without `completed`"),
        ([], "without `completed`"),
    ],
)
def test_a_broken_stream_is_told_what_is_wrong(events: list[ChatCompletionEvent], message: str) -> None:
    with pytest.raises(StreamGrammarError, match=message):
        check(events)


@pytest.mark.parametrize("sequences", [[0, 0, 1], [1, 2, 1]])
def test_sequences_must_increase(sequences: list[int]) -> None:
    with pytest.raises(StreamGrammarError, match="sequence"):
        check([started(), finished(), completed()], sequences)


def test_folding_joins_each_choice_and_keeps_the_rest() -> None:
    folder = StreamFolder()
    for event in [started(2), delta("a"), delta("x", 1), delta("b"), finished(0), finished(1), completed()]:
        folder.add(event)
    completion = folder.completion
    assert [choice.content for choice in completion.choices] == ["ab", "x"]
    assert [lp.token for lp in completion.choices[0].logprobs] == ["a", "b"]
    assert completion.choices[1].stop_match == "!"
    assert (completion.id, completion.usage.total_tokens) == ("chatcmpl-1", 5)


def test_folding_joins_reasoning_and_calls_and_keeps_prompt_logprobs() -> None:
    folder = StreamFolder()
    events = [started(2), prompt_logprobs("a"), prompt_logprobs("b"), thought("h"), thought("m"), *CALLS]
    for event in [*events, part(0, "call_3", "h", "[]", choice=1)]:
        folder.add(event)
    completion = folder.completion
    assert [token.token for token in completion.prompt_logprobs] == ["a", "b"]
    assert completion.choices[0].reasoning == "hm"
    calls = [
        [(call.id, call.function.name, call.function.arguments) for call in c.tool_calls] for c in completion.choices
    ]
    assert calls == [[("call_1", "f", '{"a": 1}'), ("call_2", "g", "{}")], [("call_3", "h", "[]")]]


def test_a_stream_can_be_folded_while_it_runs() -> None:
    folder = StreamFolder()
    contents = []
    for event in [started(), delta("a"), delta("b"), delta("c")]:
        folder.add(event)
        contents.append(folder.completion.choices[0].content)
    assert contents == ["", "a", "ab", "abc"]


REST = [delta("b", 1), *CALLS[2:], finished(0), delta("c", 1), finished(1), completed()]


def number(events: Iterable[ChatCompletionEvent], first: int) -> list[ChatCompletionEvent]:
    """The same events with sequences."""
    numbered = []
    for sequence, event in enumerate(events, first):
        numbered.append(ChatCompletionEvent.FromString(event.SerializeToString()))
        numbered[-1].sequence = sequence
    return numbered


def test_the_rest_of_a_stream_needs_no_beginning() -> None:
    checker, folder = StreamChecker(after_sequence=7), StreamFolder()
    for event in number(REST, 8):
        checker.check(event)
        folder.add(event)
    checker.end()
    first, second = folder.completion.choices
    calls = [(call.id, call.function.name, call.function.arguments) for call in first.tool_calls]
    assert calls == [("", "", ": 1}"), ("call_2", "g", "{}")]
    assert second.content == "bc"


def check_rest(events: Iterable[ChatCompletionEvent]) -> None:
    checker = StreamChecker(after_sequence=7)
    for event in events:
        checker.check(event)
    checker.end()


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([started()], "second `started`"),
        ([finished(0), delta("late")], "is finished"),
        ([part(1, arguments="a"), part(3, "call_3", "h")], "out of order"),
        ([delta("b")], "without `completed`"),
    ],
)
def test_the_rest_of_a_stream_has_rules_too(events: list[ChatCompletionEvent], message: str) -> None:
    with pytest.raises(StreamGrammarError, match=message):
        check_rest(number(events, 8))


def test_the_rest_begins_after_what_was_read() -> None:
    with pytest.raises(StreamGrammarError, match="sequence 7 after 7"):
        StreamChecker(after_sequence=7).check(*number([delta("b")], 7))
