"""Constrained sampling: whatever the model and the other parameters want, the answer fits its grammar."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import jsonschema
import pytest

from support.babbler import Babbler
from support.tiny import END_OF_TEXT, IM_END, IM_START, make_sentencepiece_tokenizer, make_tokenizer
from tokenwire.chat.constraint.rule import Rule, json_rule
from tokenwire.engine.protocol import FinishReason, SamplingParams

HOT = SamplingParams(seed=0, max_tokens=600, temperature=2.0)
SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "näme": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["a", "bb", None, 3]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "at": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$"},
        "deep": {
            "type": "object",
            "properties": {"x": {"type": "integer", "minimum": -5, "maximum": 500}},
            "additionalProperties": False,
        },
    },
    "required": ["näme", "kind", "at"],
    "additionalProperties": False,
}
REGEX = r"(foo|[a-c]{2,5}é) [0-9]{1,3}!?"
DEFINITION = f"start: /{REGEX}/"
ENDED = {FinishReason.STOP, FinishReason.COMPLETE}


@pytest.fixture(scope="module", params=[make_tokenizer, make_sentencepiece_tokenizer], ids=["bytes", "sentencepiece"])
def babbler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Babbler:
    return Babbler(tmp_path_factory.mktemp("babbler"), request.param)


def json_grammar(schema: Mapping[str, object]) -> str:
    return Rule(f"answer: {json_rule(schema)}").grammar()


def check_json(babbler: Babbler, params: SamplingParams) -> None:
    """Ten answers match the schema."""
    for seed in range(10):
        answer = babbler.generate(replace(params, seed=seed, grammar=json_grammar(SCHEMA)))
        assert answer.finish_reason in ENDED
        jsonschema.validate(json.loads(answer.text), SCHEMA)


def check_regex(babbler: Babbler, params: SamplingParams) -> None:
    """Thirty answers match the regular expression."""
    for seed in range(30):
        answer = babbler.generate(replace(params, seed=seed, grammar=DEFINITION))
        assert answer.finish_reason in ENDED
        assert re.fullmatch(REGEX, answer.text.decode())


def test_json_at_a_high_temperature_matches_its_schema(babbler: Babbler) -> None:
    check_json(babbler, HOT)


def test_greedy_json_matches_its_schema(babbler: Babbler) -> None:
    check_json(babbler, replace(HOT, temperature=0.0))


def test_truncation_chooses_among_the_tokens_that_the_grammar_allows(babbler: Babbler) -> None:
    check_json(babbler, replace(HOT, top_k=2, top_p=0.5, min_p=0.1))


def test_bias_and_penalties_cannot_break_the_grammar(babbler: Babbler) -> None:
    wanted = tuple((babbler.id_of(char), 100.0) for char in "}]\"{a:'x\n")
    check_json(babbler, replace(HOT, logit_bias=wanted, frequency_penalty=-2.0, repetition_penalty=0.5))


def test_text_matches_its_regular_expression(babbler: Babbler) -> None:
    check_regex(babbler, HOT)


def test_text_is_a_sentence_of_its_lark_grammar(babbler: Babbler) -> None:
    for seed in range(10):
        grammar = 'start: sum\nsum: term | term "+" sum\nterm: /[1-9]/ | "(" sum ")"'
        answer = babbler.generate(replace(HOT, seed=seed, grammar=grammar))
        assert answer.finish_reason is FinishReason.LENGTH or eval(answer.text) > 0


def test_an_end_wanted_too_early_is_not_taken(babbler: Babbler) -> None:
    ends = tuple((token_id, 100.0) for token_id in babbler.vocabulary.eos_token_ids)
    check_regex(babbler, replace(HOT, logit_bias=ends))


@pytest.mark.parametrize("params", [replace(HOT, min_tokens=300), replace(HOT, ignore_eos=True)])
def test_a_complete_answer_ends_whatever_the_least_length_is(babbler: Babbler, params: SamplingParams) -> None:
    check_regex(babbler, params)


def test_end_of_text_is_the_end_where_the_text_may_be_complete(babbler: Babbler) -> None:
    end = babbler.special[IM_END]
    params = replace(HOT, logit_bias=((end, 100.0),), grammar="start: /a+/", ignore_eos=True, min_tokens=9)
    answer = babbler.generate(params)
    assert answer.finish_reason is FinishReason.STOP
    assert answer.token_ids[-1] == end
    assert re.fullmatch(b"a+", answer.text)


def test_the_end_need_not_be_said_where_nothing_can_follow(babbler: Babbler) -> None:
    answer = babbler.generate(replace(HOT, grammar='start: "foo"'))
    assert (answer.finish_reason, answer.text) == (FinishReason.COMPLETE, b"foo")


def test_a_stop_token_ends_a_complete_text_only(babbler: Babbler) -> None:
    stop = babbler.id_of("b")
    params = replace(HOT, stop_token_ids=(stop,), logit_bias=((stop, 100.0),), grammar="start: /a{3}[a-z]*/")
    answer = babbler.generate(params)
    assert answer.finish_reason is FinishReason.STOP
    assert answer.token_ids[-1] == stop
    assert re.fullmatch(b"a{3}[a-z]*b", answer.text)


def test_a_special_token_comes_only_where_the_grammar_names_it(babbler: Babbler) -> None:
    start = babbler.special[IM_START]
    params = replace(HOT, logit_bias=((start, 50.0),), grammar=f'start: "a" {IM_START} /[a-z<|_>]{{9}}/')
    answer = babbler.generate(params)
    assert answer.finish_reason is FinishReason.COMPLETE
    assert [answer.token_ids.index(start), answer.token_ids.count(start)] == [1, 1]


def test_an_end_token_that_the_grammar_names_within_the_text_is_not_taken_for_its_end(babbler: Babbler) -> None:
    answer = babbler.generate(replace(HOT, grammar=f'start: "a" {END_OF_TEXT} "b"'))
    assert (answer.finish_reason, answer.text) == (FinishReason.CONSTRAINT_FAILED, b"a")


def test_a_grammar_whose_tokens_are_all_banned_fails_that_answer(babbler: Babbler) -> None:
    banned = tuple((i, -100.0) for i, text in enumerate(babbler.vocabulary.token_bytes) if text.startswith(b"a"))
    for temperature in (0.0, 1.0):
        params = replace(HOT, temperature=temperature, logit_bias=banned, grammar='start: "b" "a"')
        answer = babbler.generate(params)
        assert (answer.finish_reason, answer.text) == (FinishReason.CONSTRAINT_FAILED, b"b")


def test_a_complete_text_that_cannot_go_on_ends_well(babbler: Babbler) -> None:
    ends = tuple((token_id, -100.0) for token_id in babbler.vocabulary.eos_token_ids)
    answer = babbler.generate(replace(HOT, logit_bias=ends, bad_words=(b"aaa",), grammar="start: /a+/"))
    assert (answer.finish_reason, answer.text) == (FinishReason.COMPLETE, b"aa")


def test_a_grammar_that_outgrows_its_limits_fails_that_answer(babbler: Babbler) -> None:
    answer = babbler.generate(replace(HOT, max_tokens=5000, grammar="start: /(.*a.{200})+b/"))
    assert answer.finish_reason is FinishReason.CONSTRAINT_FAILED


def test_an_answer_goes_on_after_a_preemption_as_if_nothing_had_happened(babbler: Babbler) -> None:
    params = replace(HOT, grammar=json_grammar(SCHEMA), bad_words=(b"12", b"bb"))
    whole = babbler.generate(params)
    assert len(whole.token_ids) > 12
    for count in (0, 1, len(whole.token_ids) // 2, len(whole.token_ids) - 1):
        assert babbler.generate(params, preempt_after=count) == whole


def test_a_caller_cannot_have_text_forced_in_tokens_of_our_choice(babbler: Babbler) -> None:
    # The longest word is a token by itself; with that banned there are only other ways to spell it.
    word = max((text for text in babbler.vocabulary.token_bytes if text.isalpha()), key=len)
    params = replace(HOT, logit_bias=((babbler.id_of(word.decode()), -100.0),))
    for seed in range(5):
        grammar = f'%llguidance {{"no_forcing": false}}\nstart: "{word.decode()}"'
        assert babbler.generate(replace(params, seed=seed, grammar=grammar)).text == word
