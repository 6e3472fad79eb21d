"""One completion: what the engine gives becomes events, with text, log-probabilities, usage and times."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.completion_run import Run, scored, tokens_of
from support.fake_engine import make_info, output
from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import FinishReason, TokenLogprobs
from tokenwire.errors import EngineFaultError
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent
from tokenwire.v1.chat_pb2 import FinishReason as Reason

END = 2  # the tiny model's end-of-text token
STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


def shape(events: Iterable[ChatCompletionEvent]) -> list[tuple[int, int, str]]:
    """(sequence, index, content or the finish reason) of each event."""
    return [
        (event.sequence, event.delta.index, event.delta.content)
        if event.HasField("delta")
        else (event.sequence, event.finished.index, Reason.Name(event.finished.finish_reason))
        for event in events
    ]


def test_each_token_becomes_a_delta_and_the_end_of_text_has_no_text(model: ServedModel) -> None:
    a, b = tokens_of(model, "a", "b")
    run = Run(model)
    events = [*run.feed(output(a)), *run.feed(output(b)), *run.feed(output(END, finish=STOP))]
    assert shape(events) == [(1, 0, "a"), (2, 0, "b"), (4, 0, "FINISH_REASON_STOP")]
    completion = run.end()
    assert (completion.choices[0].stop_match, completion.usage.completion_tokens) == ("", 3)


def test_outputs_in_a_row_are_one_delta_with_the_last_sequence(model: ServedModel) -> None:
    a, b = tokens_of(model, "a", "b")
    run = Run(model, n=2)
    events = run.feed(output(a), output(b), output(a, index=1), output(b), output(a, b, index=1, finish=LENGTH))
    assert shape(events) == [
        (2, 0, "ab"),
        (3, 1, "a"),
        (4, 0, "b"),
        (6, 1, "ab"),
        (7, 1, "FINISH_REASON_LENGTH"),
    ]


def test_a_stop_string_across_tokens_is_cut_and_aborts_the_sequence(model: ServedModel) -> None:
    x, e, n, d = tokens_of(model, "x", "E", "N", "D")
    run = Run(model, stop=["END"])
    events = [*run.feed(output(x)), *run.feed(output(e)), *run.feed(output(n)), *run.feed(output(d), output(x))]
    assert shape(events) == [(1, 0, "x"), (5, 0, "FINISH_REASON_STOP")]
    assert run.aborted == [0]
    completion = run.end()
    assert (completion.choices[0].stop_match, completion.usage.completion_tokens) == ("END", 4)


def test_what_the_engine_makes_after_a_match_is_dropped(model: ServedModel) -> None:
    x, bang = tokens_of(model, "x", "!")
    run = Run(model, stop=["!"], n=2)
    events = run.feed(output(x, bang, x, x), output(x, index=1), output(x, finish=LENGTH))
    assert shape(events) == [(2, 0, "x"), (3, 0, "FINISH_REASON_STOP"), (4, 1, "x")]
    run.feed(output(END, index=1, finish=STOP))
    assert run.end().usage.completion_tokens == 4


def test_a_match_in_the_last_token_is_a_stop_and_needs_no_abort(model: ServedModel) -> None:
    x, bang = tokens_of(model, "x", "!")
    run = Run(model, stop=["!"])
    run.feed(output(x, bang, finish=LENGTH))
    assert run.end().choices[0].finish_reason == Reason.FINISH_REASON_STOP
    assert run.aborted == []


def test_held_back_text_comes_at_the_end(model: ServedModel) -> None:
    x, e = tokens_of(model, "x", "E")
    run = Run(model, stop=["END"])
    events = run.feed(output(x), output(e, finish=LENGTH))
    assert shape(events) == [(2, 0, "xE"), (3, 0, "FINISH_REASON_LENGTH")]


def test_an_output_without_tokens_can_end_a_choice(model: ServedModel) -> None:
    x, e = tokens_of(model, "x", "E")
    run = Run(model, stop=["END"])
    events = [*run.feed(output(x, e)), *run.feed(output(finish=LENGTH))]
    assert shape(events) == [(2, 0, "x"), (3, 0, "E"), (4, 0, "FINISH_REASON_LENGTH")]


def test_stop_strings_are_not_looked_for_before_min_tokens(model: ServedModel) -> None:
    (bang,) = tokens_of(model, "!")
    run = Run(model, stop=["!"], min_tokens=2)
    run.feed(output(bang), output(bang), output(bang))
    completion = run.end()
    assert (completion.choices[0].content, completion.usage.completion_tokens) == ("!!", 3)


def test_a_stop_token_is_reported_and_has_no_text(model: ServedModel) -> None:
    x, bang = tokens_of(model, "x", "!")
    run = Run(model, stop_token_ids=[bang])
    run.feed(output(x, bang, finish=STOP))
    [choice] = run.end().choices
    assert (choice.content, choice.stop_match) == ("x", "!")


def test_an_end_of_text_token_is_reported_only_as_a_stop_token(model: ServedModel) -> None:
    run = Run(model, stop_token_ids=[END], ignore_eos=True)
    run.feed(output(END, finish=STOP))
    assert run.end().choices[0].stop_match == "<|im_end|>"


def test_a_code_point_over_two_tokens_comes_whole(model: ServedModel) -> None:
    first, *rest = model.tokenizer.encode_text("🦄")
    run = Run(model)
    assert run.feed(output(first)) == []
    assert [content for _, _, content in shape(run.feed(output(*rest)))] == ["🦄"]


def test_tokens_behind_a_match_are_counted_as_wasted(model: ServedModel) -> None:
    x, bang = tokens_of(model, "x", "!")
    run = Run(model, stop=["!"], n=2)
    run.feed(output(x, bang, x, x), output(x), output(x, index=1))
    run.feed(output(x, x), output(x, index=1, finish=LENGTH))
    usage = run.end().usage
    assert (usage.completion_tokens, usage.wasted_tokens) == (4, 5)


def test_a_cut_gives_what_was_held_back_with_a_sequence_of_its_own(model: ServedModel) -> None:
    x, e = tokens_of(model, "x", "E")
    run = Run(model, stop=["END"])
    run.feed(output(x, e))
    [delta, finished] = [run.take(event) for event in run.completion.cut()]
    assert (delta.delta.content, delta.sequence) == ("E", 3)
    assert finished.finished.finish_reason == Reason.FINISH_REASON_TIME_LIMIT
    assert run.end().choices[0].content == "xE"


def test_log_probabilities_ride_with_their_text(model: ServedModel) -> None:
    x, e, t = tokens_of(model, "x", "E", "T")
    run = Run(model, stop=["END"], logprobs=True)
    assert run.feed(scored(x))[0].delta.logprobs[0].bytes == b"x"
    assert run.feed(scored(e)) == []
    [delta] = [event.delta for event in run.feed(scored(t))]
    assert (delta.content, [lp.token for lp in delta.logprobs]) == ("ET", ["E", "T"])


def test_log_probabilities_of_tokens_inside_a_match_are_left_out(model: ServedModel) -> None:
    x, e, n, d = tokens_of(model, "x", "E", "N", "D")
    run = Run(model, stop=["END"], logprobs=True)
    run.feed(scored(x, e, n, d))
    [choice] = run.end().choices
    assert (choice.content, [lp.token for lp in choice.logprobs]) == ("x", ["x"])


def test_the_end_of_text_has_a_log_probability_without_bytes(model: ServedModel) -> None:
    run = Run(model, logprobs=True)
    run.feed(scored(END, finish=STOP))
    [logprob] = run.end().choices[0].logprobs
    assert (logprob.token, logprob.bytes, logprob.token_id) == ("<|im_end|>", b"", END)


def test_minus_infinity_is_a_finite_number(model: ServedModel) -> None:
    (x,) = tokens_of(model, "x")
    run = Run(model, logprobs=True)
    bottom = TokenLogprobs(float("-inf"), ((x, float("-inf")),))
    run.feed(output(x, logprobs=(bottom,), finish=LENGTH))
    [logprob] = run.end().choices[0].logprobs
    assert (logprob.logprob, logprob.top_logprobs[0].logprob) == (-9999.0, -9999.0)


@settings(deadline=None)
@given(
    token_ids=st.lists(st.integers(0, 499), min_size=1, max_size=30),
    cuts=st.sets(st.integers(0, 30)),
    stop=st.lists(st.sampled_from(["!", "the", "\n", " a", "é", "�", "th"]), max_size=4),
    min_tokens=st.integers(0, 5),
)
def test_any_split_of_the_tokens_gives_the_same_answer_with_aligned_log_probabilities(
    model: ServedModel, token_ids: list[int], cuts: set[int], stop: list[str], min_tokens: int
) -> None:
    whole = fold(model, [token_ids], stop, min_tokens)
    bounds = sorted({0, len(token_ids), *(cut for cut in cuts if cut < len(token_ids))})
    pieces = [token_ids[start:end] for start, end in pairwise(bounds)]
    split = fold(model, pieces, stop, min_tokens)
    for choice in (whole, split):
        raw = b"".join(logprob.bytes for logprob in choice.choices[0].logprobs)
        assert raw.decode("utf-8", "replace").startswith(choice.choices[0].content.rstrip("�"))
    assert split.choices == whole.choices
    for completion in (whole, split):
        completion.usage.ClearField("wasted_tokens")  # those that came together with a match, and behind it
    assert split.usage == whole.usage


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 499), min_size=1, max_size=4), min_size=1, max_size=12), st.data())
def test_unscored_tokens_are_text_however_many_come_at_once(
    model: ServedModel, tokens: list[list[int]], data: st.DataObject
) -> None:
    run, content, num_taken = Run(model), "", 0
    while num_taken < len(tokens):
        num_more = data.draw(st.integers(1, len(tokens) - num_taken))
        events = run.feed(*(output(*each) for each in tokens[num_taken : num_taken + num_more]))
        num_taken += num_more
        assert len(events) <= 1
        assert all(event.sequence == sum(map(len, tokens[:num_taken])) for event in events)
        content += "".join(event.delta.content for event in events)
    content += "".join(event.delta.content for event in run.feed(output(finish=LENGTH)))
    assert content == model.tokenizer.decode(chain.from_iterable(tokens), skip_special_tokens=True)
    assert run.end().usage.completion_tokens == sum(map(len, tokens))


def fold(model: ServedModel, pieces: Sequence[Sequence[int]], stop: list[str], min_tokens: int) -> ChatCompletion:
    run = Run(model, stop=stop, min_tokens=min_tokens, logprobs=True, top_logprobs=1)
    for position, piece in enumerate(pieces):
        if not run.completion.done:
            run.feed(scored(*piece, finish=LENGTH if position == len(pieces) - 1 else None))
    return run.end()


def test_usage_counts_the_prompt_once_and_the_cache(model: ServedModel) -> None:
    (x,) = tokens_of(model, "x")
    run = Run(model, n=2)
    run.feed(*(output(x, x, index=index, finish=LENGTH, cached_tokens=4) for index in (0, 1)))
    usage = run.end().usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 4, 9)
    assert usage.cached_prompt_tokens == 4


def test_times_are_in_order(model: ServedModel) -> None:
    (x,) = tokens_of(model, "x")
    run = Run(model)
    run.feed(output(x, queue_s=2.0))
    run.feed(output(x, finish=LENGTH, queue_s=2.0))
    timings = run.end().timings
    assert timings.queue.ToMilliseconds() >= 2000
    assert 0 < timings.time_to_first_token.ToNanoseconds() <= timings.total.ToNanoseconds()


@pytest.mark.parametrize("reason", [FinishReason.FAULT, FinishReason.ABORTED])
def test_a_failed_sequence_fails_the_completion(model: ServedModel, reason: FinishReason) -> None:
    (x,) = tokens_of(model, "x")
    run = Run(model)
    run.feed(output(x))
    with pytest.raises(EngineFaultError, match="choice 0 after 1 tokens") as caught:
        run.feed(output(finish=reason))
    assert caught.value.completion_id == run.completion.id


def test_a_cut_releases_what_was_held_back_and_ends_every_choice(model: ServedModel) -> None:
    x, e, n = tokens_of(model, "x", "E", "N")
    run = Run(model, stop=["END"], n=3)
    run.feed(output(x, e), output(x, index=1), output(x, index=2, finish=LENGTH))
    run.feed(output(e, n, index=1))
    events = [run.take(event) for event in run.completion.cut()]
    cut = "FINISH_REASON_TIME_LIMIT"
    assert [text for _, _, text in shape(events)] == ["E", cut, "EN", cut]
    assert [choice.content for choice in run.end().choices] == ["xE", "xEN", "x"]
    assert run.completion.done


def test_a_cut_before_the_first_token_gives_empty_choices(model: ServedModel) -> None:
    run = Run(model)
    events = [run.take(event) for event in run.completion.cut()]
    assert [text for _, _, text in shape(events)] == ["FINISH_REASON_TIME_LIMIT"]
    assert run.end().usage.completion_tokens == 0
