"""The rules of a chat request. Finds every violation, so that a caller can mend all of them at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from tokenwire.chat.constraint.response_format import check_response_format
from tokenwire.chat.prompt.variables import check_template_kwargs
from tokenwire.chat.validation.labels import check_metadata, check_user
from tokenwire.chat.validation.limits import (
    MAX_BAD_WORD_BYTES,
    MAX_BAD_WORDS,
    MAX_LOGIT_BIAS,
    MAX_STOP,
    MAX_STOP_LENGTH,
    MAX_STOP_TOKEN_IDS,
    MAX_TOP_LOGPROBS,
)
from tokenwire.chat.validation.policy import check_execution
from tokenwire.chat.validation.prompt import check_prompt
from tokenwire.chat.validation.rules import check_count, check_token_id, missing
from tokenwire.chat.validation.sizes import MIN_TEXT_BYTES, check_sizes
from tokenwire.chat.validation.targets import check_request_id
from tokenwire.chat.validation.tools import check_tools
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

MISSING_MODEL = missing("model")


@dataclass(frozen=True, slots=True)
class Range:
    """Where a number may lie, bounds included but for `above`."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    """The value itself is too low."""

    def __str__(self) -> str:
        if self.above is not None:
            return f"must be in ({self.above}, {self.high}]"
        return f"must be in [{self.low}, {self.high}]" if self.high is not None else f"must be at least {self.low}"

    def violation(self, field: str, value: float) -> Violation | None:
        """What is wrong with a value, if anything."""
        kind = "integer" if isinstance(value, int) else "decimal"
        if not isfinite(value):
            code = "invalid_value"
        elif self.high is not None and value > self.high:
            code = f"{kind}_above_max_value"
        elif (self.low is not None and value < self.low) or (self.above is not None and value <= self.above):
            code = f"{kind}_below_min_value"
        else:
            return None
        return Violation(field, f"`{field}` {self}; got {value}", code)


RANGES = {
    "temperature": Range(0, 2),
    "top_p": Range(0, 1),
    "max_completion_tokens": Range(1),
    "frequency_penalty": Range(-2, 2),
    "presence_penalty": Range(-2, 2),
    "top_logprobs": Range(0, MAX_TOP_LOGPROBS),
    "top_k": Range(0),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(above=0, high=10),
    "min_tokens": Range(0),
    "prompt_logprobs": Range(0, MAX_TOP_LOGPROBS),
}
"""The optional numbers of a request whose range does not depend on the server."""


def validate(
    request: ChatCompletionRequest,
    *,
    vocabulary_size: int,
    max_n: int,
    max_retain_s: float,
    max_text_bytes: int = MIN_TEXT_BYTES,
) -> None:
    """Raise `InvalidRequestError` with every violation, if there is one.

    What depends on the length of the prompt is checked by `tokenwire.chat.parameters`.
    """
    if too_long := list(check_sizes(request, max_text_bytes)):
        raise InvalidRequestError(too_long)  # and no more, for looking at all of it takes seconds
    violations = [
        *([] if request.model else [MISSING_MODEL]),
        *check_prompt(request, vocabulary_size),
        *check_tools(request),
        *check_template_kwargs(request.chat_template_kwargs),
        *_check_numbers(request, max_n),
        *_check_stop(request),
        *_check_bad_words(request),
        *_check_token_ids(request, vocabulary_size),
        *(check_response_format(request.response_format) if request.HasField("response_format") else ()),
        *check_execution(request, max_retain_s=max_retain_s),
        *check_metadata(request.metadata),
        *check_user(request.user),
        *check_request_id(request.request_id),
        *_check_combinations(request),
    ]
    if violations:
        raise InvalidRequestError(violations)


def _check_numbers(request: ChatCompletionRequest, max_n: int) -> Iterator[Violation]:
    for field, allowed in {**RANGES, "n": Range(1, max_n)}.items():
        if request.HasField(field) and (violation := allowed.violation(field, getattr(request, field))):  # type: ignore[arg-type]
            yield violation


def _check_stop(request: ChatCompletionRequest) -> Iterator[Violation]:
    yield from check_count("stop", len(request.stop), MAX_STOP, "strings")
    for index, stop in enumerate(request.stop[:MAX_STOP]):
        field = f"stop[{index}]"
        if not stop:
            yield Violation(field, f"`{field}` must not be empty; got ''")
        elif len(stop) > MAX_STOP_LENGTH:
            description = f"`{field}` must have at most {MAX_STOP_LENGTH} characters; got {len(stop)}"
            yield Violation(field, description, "string_above_max_length")


def _check_bad_words(request: ChatCompletionRequest) -> Iterator[Violation]:
    yield from check_count("bad_words", len(request.bad_words), MAX_BAD_WORDS, "strings")
    allowed = Range(1, MAX_BAD_WORD_BYTES)
    for index, word in enumerate(request.bad_words[:MAX_BAD_WORDS]):
        field, size = f"bad_words[{index}]", len(word.encode())
        if allowed.violation(field, size):
            yield Violation(field, f"`{field}` must have 1 to {MAX_BAD_WORD_BYTES} bytes; got {size}")


def _check_token_ids(request: ChatCompletionRequest, vocabulary_size: int) -> Iterator[Violation]:
    yield from check_count("stop_token_ids", len(request.stop_token_ids), MAX_STOP_TOKEN_IDS, "token ids")
    for index, token_id in enumerate(request.stop_token_ids[:MAX_STOP_TOKEN_IDS]):
        yield from check_token_id(f"stop_token_ids[{index}]", token_id, vocabulary_size)
    allowed = Range(-MAX_LOGIT_BIAS, MAX_LOGIT_BIAS)
    for token_id, bias in sorted(request.logit_bias.items()):
        field = f"logit_bias[{token_id}]"
        yield from check_token_id(field, token_id, vocabulary_size)
        if violation := allowed.violation(field, bias):
            yield violation


def _check_combinations(request: ChatCompletionRequest) -> Iterator[Violation]:
    if request.HasField("top_logprobs") and not request.logprobs:
        yield Violation("top_logprobs", "`top_logprobs` needs `logprobs`; got false", "invalid_parameter_combination")
    if request.HasField("max_completion_tokens"):
        allowed = Range(0, max(request.max_completion_tokens, 1))
        if request.min_tokens > 0 and (violation := allowed.violation("min_tokens", request.min_tokens)):
            yield Violation("min_tokens", f"{violation.description}, above `max_completion_tokens`", violation.code)
