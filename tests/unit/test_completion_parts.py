"""Completions with reasoning, tool calls, constraints and prompt log-probabilities."""

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from support.answers import Answer, read
from support.completion_run import PROMPT_TOKENS, Run, scored, tokens_of
from support.fake_engine import make_info, output
from support.tiny import make_sentencepiece_tokenizer, make_tokenizer
from tokenwire.chat.answer.reader import AnswerForm
from tokenwire.chat.answer.reasoning import Reasoning
from tokenwire.chat.model import ServedModel
from tokenwire.chat.tool_syntax import SYNTAXES
from tokenwire.engine.grammar.text import TextGrammar
from tokenwire.engine.protocol import FinishReason, SequenceOutput, TokenLogprobs
from tokenwire.errors import ConstraintFailedError
from tokenwire.v1.chat_pb2 import ChatCompletion, Choice, ServiceTier
from tokenwire.v1.chat_pb2 import FinishReason as Reason

END = 2  # the tiny model's end-of-text token
STOP, LENGTH, COMPLETE = FinishReason.STOP, FinishReason.LENGTH, FinishReason.COMPLETE

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
HERMES = AnswerForm(tools=SYNTAXES["hermes"])
NAMED = AnswerForm(tools=SYNTAXES["hermes"], is_named=True)
THINKING = AnswerForm(Reasoning.POSSIBLE)
DIGITS = AnswerForm(is_constrained=True)
GROUPS = TextGrammar('start: ("{a}" | "{a}}")+')
FORMS = {
    "thinking": THINKING,
    "open": AnswerForm(Reasoning.OPEN),
    "hermes": HERMES,
    "thinking hermes": AnswerForm(Reasoning.POSSIBLE, SYNTAXES["hermes"]),
    "thinking llama": AnswerForm(Reasoning.OPEN, SYNTAXES["llama3"]),
}


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


def outputs(model: ServedModel, text: str, finish: FinishReason) -> list[SequenceOutput]:
    """One scored output a token; the end of text where the model stops by itself."""
    ids = model.tokenizer.encode_text(text) + ([END] if finish is STOP else [])
    return [*map(scored, ids[:-1]), scored(ids[-1], finish=finish)]


def complete(model: ServedModel, form: AnswerForm, text: str, finish: FinishReason = STOP, **fields: object) -> Choice:
    """The one choice of a completion whose model writes a text."""
    run = Run(model, form, **fields)
    for each in outputs(model, text, finish):
        if not run.completion.done:
            run.feed(each)
    return run.end().choices[0]


def calls_of(choice: Choice) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in choice.tool_calls]


def test_reasoning_and_content_come_apart_and_reasoning_tokens_are_counted(model: ServedModel) -> None:
    run = Run(model, THINKING)
    run.feed(*outputs(model, "<think>a dog</think>\n\nthe fox", STOP))
    completion = run.end()
    [choice] = completion.choices
    assert (choice.reasoning, choice.content) == ("a dog", "the fox")
    assert completion.usage.reasoning_tokens == len(model.tokenizer.encode_text("<think>a dog</think>"))


def test_an_answer_without_reasoning_has_no_reasoning_tokens(model: ServedModel) -> None:
    run = Run(model, THINKING)
    run.feed(*outputs(model, "<the fox", STOP))
    assert run.end().usage.reasoning_tokens == 0


def test_the_end_of_text_is_no_reasoning_token(model: ServedModel) -> None:
    run = Run(model, FORMS["open"])
    run.feed(*outputs(model, "a dog", STOP))
    usage = run.end().usage
    assert usage.reasoning_tokens == usage.completion_tokens - 1


def test_the_model_calls_a_tool(model: ServedModel) -> None:
    choice = complete(model, HERMES, f"I see.\n{CALL}")
    assert (choice.content, calls_of(choice)) == ("I see.", [("f", '{"x": 1}')])
    assert choice.finish_reason == Reason.FINISH_REASON_TOOL_CALLS


@pytest.mark.parametrize(
    ("form", "text", "finish", "reason"),
    [
        (HERMES, CALL, STOP, Reason.FINISH_REASON_TOOL_CALLS),
        (HERMES, CALL, COMPLETE, Reason.FINISH_REASON_TOOL_CALLS),
        (HERMES, CALL, LENGTH, Reason.FINISH_REASON_LENGTH),
        (HERMES, "Hello", STOP, Reason.FINISH_REASON_STOP),
        (NAMED, CALL, COMPLETE, Reason.FINISH_REASON_STOP),
        (NAMED, CALL[:-20], LENGTH, Reason.FINISH_REASON_LENGTH),
        (DIGITS, "12", COMPLETE, Reason.FINISH_REASON_STOP),
    ],
)
def test_a_finish_reason(
    model: ServedModel, form: AnswerForm, text: str, finish: FinishReason, reason: Reason.ValueType
) -> None:
    choice = complete(model, form, text, finish)
    assert (choice.finish_reason, choice.stop_match) == (reason, "")


def test_the_last_token_of_a_complete_answer_is_text(model: ServedModel) -> None:
    assert complete(model, DIGITS, "12", COMPLETE).content == "12"


def test_stop_strings_are_looked_for_in_the_content_only(model: ServedModel) -> None:
    form = AnswerForm(Reasoning.POSSIBLE, SYNTAXES["hermes"])
    text = f"<think>x</think>content {CALL}"
    choice = complete(model, form, text, stop=["x", "arguments", "}"])
    assert (choice.reasoning, choice.content, len(choice.tool_calls)) == ("x", "content", 1)
    choice = complete(model, form, text, stop=["tent"])
    assert (choice.content, choice.stop_match, len(choice.tool_calls)) == ("con", "tent", 0)
    assert choice.finish_reason == Reason.FINISH_REASON_STOP


def test_a_stop_token_among_calls_is_told(model: ServedModel) -> None:
    (token_id,) = tokens_of(model, "!")
    run = Run(model, HERMES, stop_token_ids=[token_id])
    run.feed(*outputs(model, CALL, LENGTH)[:-1], output(token_id, finish=STOP))
    [choice] = run.end().choices
    assert (choice.finish_reason, choice.stop_match) == (Reason.FINISH_REASON_STOP, "!")


def test_stop_strings_are_not_looked_for_before_min_tokens_reasoning_included(model: ServedModel) -> None:
    text = "<think>a</think>!!!!"
    num_thought = len(model.tokenizer.encode_text("<think>a</think>"))
    choice = complete(model, THINKING, text, stop=["!"], min_tokens=num_thought + 2)
    assert (choice.content, choice.stop_match) == ("!!", "!")


def test_a_stop_string_ends_a_constrained_answer_only_where_it_is_complete(model: ServedModel) -> None:
    choice = complete(
        model, AnswerForm(is_constrained=True, follow_content=GROUPS.follow), "{a}{a}}", stop=["}", "a}}"]
    )
    assert (choice.content, choice.stop_match) == ("{a}{a}", "}")


def test_a_token_that_reaches_into_a_stop_match_keeps_its_log_probability(model: ServedModel) -> None:
    assert len(model.tokenizer.encode_text(" the")) == 1
    choice = complete(model, THINKING, "<think>a</think>x the<", stop=["e<"], logprobs=True)
    assert (choice.content, b"".join(each.bytes for each in choice.logprobs)) == (
        "x th",
        b"<think>a</think>x the",
    )


def test_a_constrained_answer_keeps_its_leading_space(tmp_path: Path) -> None:
    make_sentencepiece_tokenizer(tmp_path)
    model = ServedModel.load("tiny", make_info(tmp_path))
    fox = model.tokenizer.encode_text("fox")  # one word, which the tokenizer begins with a space
    contents = []
    for form in (AnswerForm(), AnswerForm(is_constrained=True)):
        run = Run(model, form)
        run.feed(output(*fox, finish=LENGTH))
        contents.append(run.end().choices[0].content)
    assert contents == ["fox", " fox"]


def test_marks_that_are_special_tokens_are_read_and_others_have_no_text(tmp_path: Path) -> None:
    marks = ("[TOOL_CALLS]", "[ARGS]", "[OTHER]")
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = ServedModel.load("tiny", make_info(tmp_path, vocabulary_size=512))
    calls, args, other = map(int, model.tokenizer.special_pieces("".join(marks)))
    text = model.tokenizer.encode_text
    ids = [*text("Hi"), other, calls, *text("f"), args, *text("{}")]
    run = Run(model, AnswerForm(tools=SYNTAXES["mistral-args"]), logprobs=True)
    run.feed(scored(*ids, END, finish=STOP))
    [choice] = run.end().choices
    assert (choice.content, calls_of(choice)) == ("Hi", [("f", "{}")])
    assert b"".join(each.bytes for each in choice.logprobs) == b"Hi[TOOL_CALLS]f[ARGS]{}"
    assert [each.token_id for each in choice.logprobs] == [*ids, END]


def test_log_probabilities_have_the_text_of_all_marks(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    tags = [AddedToken(tag, special=True, normalized=False) for tag in ("<tool_call>", "</tool_call>", "<think>")]
    tokenizer.add_special_tokens(tags)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = ServedModel.load("tiny", make_info(tmp_path, vocabulary_size=512))
    text = f"<think>a</think>{CALL}"
    pieces = model.tokenizer.special_pieces(text)
    ids = [i for piece in pieces for i in ([piece] if isinstance(piece, int) else model.tokenizer.encode_text(piece))]
    run = Run(model, FORMS["thinking hermes"], logprobs=True)
    run.feed(scored(*ids, finish=LENGTH))
    assert b"".join(each.bytes for each in run.end().choices[0].logprobs) == text.encode()


def test_a_call_is_streamed_as_it_is_written(model: ServedModel) -> None:
    run = Run(model, HERMES)
    deltas = [event.delta for each in outputs(model, CALL, LENGTH) for event in run.feed(each)]
    parts = [part for delta in deltas for part in delta.tool_calls]
    assert [bool(part.id) for part in parts] == [bool(part.name) for part in parts] == [True] + [False] * len(parts[1:])
    assert len(parts) >= len(model.tokenizer.encode_text('{"x": 1}'))
    assert "".join(part.arguments for part in parts) == '{"x": 1}'


BITS = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            CALL,
            "<tool_call>",
            '{"name": "',
            '", "parameters": ',
            "the",
            "\n",
            " ",
            "{",
            "}",
            "é🙂",
        )
    ]
)


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(FORMS)),
    bits=st.lists(BITS, min_size=1, max_size=8),
    cuts=st.sets(st.integers(0, 100), max_size=8),
    stop=st.lists(st.sampled_from(["the", "\n", "}", "e<", " \n"]), max_size=2),
)
def test_any_split_of_the_tokens_gives_the_parts_of_the_whole_text(
    model: ServedModel, name: str, bits: list[str], cuts: set[int], stop: list[str]
) -> None:
    text = "".join(bits)
    ids = model.tokenizer.encode_text(text)
    bounds = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    choice = fold(model, FORMS[name], [ids[start:end] for start, end in pairwise(bounds)], stop).choices[0]
    assert Answer(choice.reasoning, choice.content, tuple(calls_of(choice))) == expected(text, FORMS[name], stop)
    joined = b"".join(each.bytes for each in choice.logprobs).decode(errors="ignore")
    assert text.startswith(joined)
    assert choice.content in joined if choice.stop_match else joined == text
    one_by_one = fold(model, FORMS[name], [[token_id] for token_id in ids], stop).choices[0]
    assert one_by_one.logprobs == choice.logprobs
    assert one_by_one.stop_match == choice.stop_match


def expected(text: str, form: AnswerForm, stop: Sequence[str]) -> Answer:
    """What the text consists of, up to the stop string in its content that is complete first."""
    answer = read([text], form)
    ends = (end for end in range(len(answer.content) + 1) if answer.content[:end].endswith(tuple(stop)))
    if not stop or (end := next(ends, None)) is None:
        return answer
    match = max((each for each in stop if answer.content[:end].endswith(each)), key=len)
    return Answer(answer.reasoning, answer.content[: end - len(match)])


def fold(model: ServedModel, form: AnswerForm, pieces: Sequence[Sequence[int]], stop: list[str]) -> ChatCompletion:
    run = Run(model, form, stop=stop, logprobs=True)
    for position, piece in enumerate(pieces):
        if not run.completion.done:
            run.feed(scored(*piece, finish=LENGTH if position == len(pieces) - 1 else None))
    return run.end()


def test_a_constraint_that_cannot_go_on_fails_the_completion(model: ServedModel) -> None:
    run = Run(model, DIGITS)
    run.feed(output(*tokens_of(model, "1")))
    with pytest.raises(ConstraintFailedError, match="choice 0 after 1 tokens") as caught:
        run.feed(output(finish=FinishReason.CONSTRAINT_FAILED))
    assert caught.value.completion_id == run.completion.id


def test_prompt_log_probabilities_come_before_any_delta_with_sequences_of_their_own(model: ServedModel) -> None:
    a, b = tokens_of(model, "a", "b")
    given = tuple(TokenLogprobs(-float(rank), ((a, -0.5),)) for rank in range(1, len(PROMPT_TOKENS)))
    first, second = output(prompt_logprobs=given[:1]), output(a, prompt_logprobs=given[1:])
    apart, together = Run(model), Run(model)
    events = [event for each in (first, second, output(b, finish=LENGTH)) for event in apart.feed(each)]
    assert [event.WhichOneof("event") for event in events] == [*["prompt_logprobs"] * 2, *["delta"] * 2, "finished"]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    merged = together.feed(first, second, output(b, finish=LENGTH))
    assert [event.sequence for event in merged] == [2, 4, 5]
    for run in (apart, together):
        logprobs = run.end().prompt_logprobs
        assert [each.token_id for each in logprobs] == list(PROMPT_TOKENS[1:])
        assert [each.logprob for each in logprobs] == [-1, -2, -3, -4]
        assert [each.bytes for each in logprobs] == [model.tokenizer.token_bytes(i) for i in PROMPT_TOKENS[1:]]
        assert logprobs[0].top_logprobs[0].bytes == b"a"


def test_the_tier_is_told_at_the_start(model: ServedModel) -> None:
    run = Run(model)
    run.feed(output(END, finish=STOP))
    assert run.end().service_tier == ServiceTier.SERVICE_TIER_FLEX


def test_the_log_has_tier_user_and_metadata_on_one_line(model: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(model, user="a\nb", metadata={"team": "x y", "app": "1"})
    with caplog.at_level(logging.INFO, "tokenwire.chat"):
        run.completion.log("stop")
    [record] = caplog.records
    assert record.getMessage().endswith('tier=flex user="a\\nb" metadata={"app": "1", "team": "x y"}')
