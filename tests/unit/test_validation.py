"""The rules of a request: every violation, by its path, with the limit and the value."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from tokenwire.chat.parameters import effective_parameters, sampling_params
from tokenwire.chat.validation.request import validate
from tokenwire.errors import ContextLengthError, InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Message

HELLO = {"role": "ROLE_USER", "content": "hi"}
INT64_MAX = 2**63 - 1


def request(**fields: Any) -> ChatCompletionRequest:
    return ParseDict({"model": "m", "messages": [HELLO], **fields}, ChatCompletionRequest())


def violations(request: ChatCompletionRequest, *, max_n: int = 128) -> tuple[Violation, ...]:
    try:
        validate(request, vocabulary_size=500, max_n=max_n, max_retain_s=3600)
    except InvalidRequestError as error:
        return error.violations
    return ()


def with_message(**fields: Any) -> ChatCompletionRequest:
    return request(messages=[fields])


def parts(*parts: dict[str, str], role: str = "ROLE_USER") -> ChatCompletionRequest:
    return with_message(role=role, content_parts={"parts": list(parts)})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0, "top_p": 0, "n": 2},
        {"temperature": 2, "top_p": 1, "n": 128, "frequency_penalty": -2, "presence_penalty": 2},
        {"stop": [], "seed": "-1", "logit_bias": {}},
        {"seed": str(INT64_MAX), "logit_bias": {"0": -100, "499": 100}, "stop_token_ids": [0, 499]},
        {"stop": ["a", "b", "c", "\n"], "logprobs": True, "top_logprobs": 20, "top_k": 0, "min_p": 1},
        {"repetition_penalty": 10, "min_tokens": 5, "max_completion_tokens": 5, "ignore_eos": True},
        {"messages": [{"role": "ROLE_ASSISTANT", "refusal": "no"}]},
        {"messages": [{"role": "ROLE_DEVELOPER", "content": ""}, {"role": "ROLE_SYSTEM", "content": "s"}]},
        {"messages": [{"role": "ROLE_ASSISTANT", "content_parts": {"parts": [{"refusal": "no"}]}}]},
        {"messages": [{**HELLO, "name": "Ann-1_b" + "x" * 57}]},
        {"bad_words": ["x" * 256, "é"] * 32, "prompt_logprobs": 20, "user": "u" * 256, "metadata": {"k": ""}},
        {"service_tier": "SERVICE_TIER_FLEX", "execution_policy": {"priority": -100}, "store": True},
        {"response_format": {"json_object": {}}},
    ],
)
def test_legal_requests_pass(fields: dict[str, Any]) -> None:
    assert violations(request(**fields)) == ()


NUMBERS = [
    ("prompt_logprobs", 21, "`prompt_logprobs` must be in [0, 20]; got 21", "integer_above_max_value"),
    ("prompt_logprobs", -1, "`prompt_logprobs` must be in [0, 20]; got -1", "integer_below_min_value"),
    ("temperature", 2.1, "`temperature` must be in [0, 2]; got 2.1", "decimal_above_max_value"),
    ("temperature", -0.1, "`temperature` must be in [0, 2]; got -0.1", "decimal_below_min_value"),
    ("top_p", 1.7, "`top_p` must be in [0, 1]; got 1.7", "decimal_above_max_value"),
    ("top_p", -1.0, "`top_p` must be in [0, 1]; got -1.0", "decimal_below_min_value"),
    ("frequency_penalty", -2.5, "`frequency_penalty` must be in [-2, 2]; got -2.5", "decimal_below_min_value"),
    ("presence_penalty", 2.5, "`presence_penalty` must be in [-2, 2]; got 2.5", "decimal_above_max_value"),
    ("max_completion_tokens", 0, "`max_completion_tokens` must be at least 1; got 0", "integer_below_min_value"),
    ("n", 0, "`n` must be in [1, 128]; got 0", "integer_below_min_value"),
    ("n", 129, "`n` must be in [1, 128]; got 129", "integer_above_max_value"),
    ("top_k", -1, "`top_k` must be at least 0; got -1", "integer_below_min_value"),
    ("min_p", 1.5, "`min_p` must be in [0, 1]; got 1.5", "decimal_above_max_value"),
    ("repetition_penalty", 0.0, "`repetition_penalty` must be in (0, 10]; got 0.0", "decimal_below_min_value"),
    ("repetition_penalty", 11.0, "`repetition_penalty` must be in (0, 10]; got 11.0", "decimal_above_max_value"),
    ("min_tokens", -1, "`min_tokens` must be at least 0; got -1", "integer_below_min_value"),
]


@pytest.mark.parametrize(("field", "value", "description", "code"), NUMBERS)
def test_a_number_out_of_range_names_limit_and_value(field: str, value: float, description: str, code: str) -> None:
    assert violations(request(**{field: value})) == (Violation(field, description, code),)


DECIMALS = ["temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p", "repetition_penalty"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", DECIMALS)
def test_nan_and_infinities_are_refused(field: str, value: float) -> None:
    bad = request()
    setattr(bad, field, value)
    [violation] = violations(bad)
    assert (violation.field, violation.code) == (field, "invalid_value")
    assert str(value) in violation.description


def raw(**fields: Any) -> ChatCompletionRequest:
    return ParseDict({"model": "m", **fields}, ChatCompletionRequest())


OTHERS = [
    (raw(raw_prompt={}), "raw_prompt.prompt", "missing_required_parameter", "required"),
    (
        raw(raw_prompt={"token_ids": {"ids": [0, 500]}}),
        "raw_prompt.token_ids.ids[1]",
        "invalid_value",
        "[0, 500), the model's vocabulary; got 500",
    ),
    (request(raw_prompt={"text": "a"}), "messages", "invalid_parameter_combination", "beside `raw_prompt`"),
    (
        raw(raw_prompt={"text": "a"}, chat_template_kwargs="{}"),
        "chat_template_kwargs",
        "invalid_parameter_combination",
        "beside `raw_prompt`",
    ),
    (request(model=""), "model", "missing_required_parameter", "required"),
    (request(messages=[]), "messages", "empty_array", "at least 1"),
    (with_message(content="hi"), "messages[0].role", "missing_required_parameter", "required"),
    (with_message(role="ROLE_USER"), "messages[0].content", "missing_required_parameter", "required"),
    (with_message(**HELLO, refusal="no"), "messages[0].refusal", "invalid_value", "ROLE_USER"),
    (
        with_message(**HELLO, name="x" * 65),
        "messages[0].name",
        "string_above_max_length",
        "at most 64 characters; got 65",
    ),
    (with_message(**HELLO, name="a b"), "messages[0].name", "invalid_value", "'a b'"),
    (with_message(**HELLO, name="a\n"), "messages[0].name", "invalid_value", r"'a\n'"),
    (with_message(**HELLO, name=""), "messages[0].name", "invalid_value", "at least one"),
    (parts(), "messages[0].content_parts.parts", "empty_array", "at least 1"),
    (parts({"text": "a"}, {}), "messages[0].content_parts.parts[1]", "missing_required_parameter", "must have"),
    (parts({"refusal": "a"}), "messages[0].content_parts.parts[0].refusal", "invalid_value", "ROLE_USER"),
    (request(stop=["a"] * 5), "stop", "array_above_max_length", "at most 4 strings; got 5"),
    (request(stop=["a", "b", ""]), "stop[2]", "invalid_value", "empty"),
    (request(stop_token_ids=[0] * 65), "stop_token_ids", "array_above_max_length", "at most 64 token ids; got 65"),
    (
        request(stop_token_ids=[0, 500]),
        "stop_token_ids[1]",
        "invalid_value",
        "[0, 500), the model's vocabulary; got 500",
    ),
    (request(stop_token_ids=[-1]), "stop_token_ids[0]", "invalid_value", "got -1"),
    (
        request(logit_bias={"50000": 1}),
        "logit_bias[50000]",
        "invalid_value",
        "[0, 500), the model's vocabulary; got 50000",
    ),
    (request(logit_bias={"7": 101}), "logit_bias[7]", "decimal_above_max_value", "[-100, 100]; got 101.0"),
    (request(logit_bias={"7": "NaN"}), "logit_bias[7]", "invalid_value", "got nan"),
    (request(top_logprobs=3), "top_logprobs", "invalid_parameter_combination", "needs `logprobs`"),
    (request(logprobs=True, top_logprobs=21), "top_logprobs", "integer_above_max_value", "[0, 20]; got 21"),
    (request(min_tokens=6, max_completion_tokens=5), "min_tokens", "integer_above_max_value", "[0, 5]; got 6"),
    (
        request(min_tokens=1_234_568, max_completion_tokens=1_234_567),
        *("min_tokens", "integer_above_max_value", "[0, 1234567]; got 1234568"),
    ),
    (request(bad_words=["a"] * 65), "bad_words", "array_above_max_length", "at most 64 strings; got 65"),
    (request(bad_words=["a", ""]), "bad_words[1]", "invalid_value", "1 to 256 bytes; got 0"),
    (request(bad_words=["é" * 129]), "bad_words[0]", "invalid_value", "1 to 256 bytes; got 258"),
    (
        request(execution_policy={"priority": 101}),
        *("execution_policy.priority", "integer_above_max_value", "[-100, 100]; got 101"),
    ),
    (request(service_tier=9), "service_tier", "invalid_value", "known tier; got 9"),
    (request(user="u" * 257), "user", "string_above_max_length", "at most 256 characters; got 257"),
    (request(metadata={"k" * 65: ""}), "metadata", "string_above_max_length", "at most 64 characters; got 65"),
    (request(response_format={}), "response_format.format", "missing_required_parameter", "required"),
]


@pytest.mark.parametrize(("bad", "field", "code", "words"), OTHERS, ids=[row[1] for row in OTHERS])
def test_each_rule_has_its_path_code_and_words(bad: ChatCompletionRequest, field: str, code: str, words: str) -> None:
    [violation] = violations(bad)
    assert (violation.field, violation.code) == (field, code)
    assert words in violation.description


def test_an_unknown_role_is_refused() -> None:
    [violation] = violations(ChatCompletionRequest(model="m", messages=[Message(role=99, content="x")]))  # type: ignore[arg-type]
    assert (violation.field, violation.description) == (
        "messages[0].role",
        "`messages[0].role` must be a known role; got 99",
    )


def test_all_violations_come_at_once() -> None:
    bad = request(messages=[HELLO, {"role": "ROLE_USER"}], top_p=2, n=0, stop=[""], logit_bias={"-1": 200})
    fields = [violation.field for violation in violations(bad)]
    assert fields == ["messages[1].content", "top_p", "n", "stop[0]", "logit_bias[-1]", "logit_bias[-1]"]


def test_n_is_bounded_by_what_the_server_queues() -> None:
    [violation] = violations(request(n=9), max_n=8)
    assert violation.description == "`n` must be in [1, 8]; got 9"


def test_defaults_are_those_of_the_contract() -> None:
    parameters = effective_parameters(request(), prompt_tokens=10, context_length=100)
    assert (parameters.temperature, parameters.top_p, parameters.n, parameters.repetition_penalty) == (1, 1, 1, 1)
    assert parameters.max_completion_tokens == 90


def test_given_parameters_are_in_force_even_at_zero() -> None:
    asked = request(temperature=0, top_p=0, seed="-5", max_completion_tokens=7, min_tokens=3, top_k=9, n=2)
    parameters = effective_parameters(asked, prompt_tokens=10, context_length=100)
    sampling = sampling_params(asked, parameters, grammar=None)
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0, 0, -5, 7)
    assert (sampling.min_tokens, sampling.top_k, parameters.n, sampling.top_logprobs) == (3, 9, 2, None)


def test_what_the_engine_alone_needs_is_passed_on() -> None:
    asked = request(logit_bias={"9": 1, "3": -2}, stop_token_ids=[4], ignore_eos=True, logprobs=True)
    sampling = sampling_params(asked, effective_parameters(asked, prompt_tokens=1, context_length=9), grammar=None)
    assert sampling.logit_bias == ((3, -2.0), (9, 1.0))
    assert (sampling.stop_token_ids, sampling.ignore_eos, sampling.top_logprobs) == ((4,), True, 0)


def test_each_request_without_a_seed_gets_its_own() -> None:
    seeds = {effective_parameters(request(), prompt_tokens=1, context_length=9).seed for _ in range(8)}
    assert len(seeds) == 8


@pytest.mark.parametrize(("prompt_tokens", "asked"), [(100, None), (101, None), (95, 6)])
def test_prompt_and_answer_must_fit_the_context(prompt_tokens: int, asked: int | None) -> None:
    too_long = request(max_completion_tokens=asked)
    with pytest.raises(ContextLengthError, match=f"100 tokens; the prompt has {prompt_tokens} tokens"):
        effective_parameters(too_long, prompt_tokens=prompt_tokens, context_length=100)


def test_a_prompt_that_fills_the_context_is_told_without_a_bound_that_nobody_gave() -> None:
    with pytest.raises(ContextLengthError, match="100 tokens; the prompt has 100 tokens, which leave no room"):
        effective_parameters(request(), prompt_tokens=100, context_length=100)


def test_min_tokens_must_fit_what_the_prompt_leaves() -> None:
    with pytest.raises(InvalidRequestError, match=r"`min_tokens` must be in \[0, 10\]; got 11"):
        effective_parameters(request(min_tokens=11), prompt_tokens=90, context_length=100)


def test_of_messages_that_are_too_long_nothing_else_is_looked_at() -> None:
    bad = request(temperature=9, messages=[{"role": "ROLE_USER", "content": "x" * (1 << 20)}])
    assert [violation.field for violation in violations(bad)] == ["messages"]
