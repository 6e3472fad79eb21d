"""JSON body of a legacy completion → one contract message for each prompt. Types only, as for chat completions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokenwire.errors import InvalidRequestError, TokenwireError, Violation
from tokenwire.rest.chat.requests import read_parameters, read_stream_options
from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_names import in_json_terms
from tokenwire.rest.json_reader import JsonReader, set_field
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, RawPrompt
from tokenwire.v1.errors_pb2 import ErrorReason

MAX_PROMPTS = 128
"""Each is a completion of its own."""

DEFAULT_MAX_TOKENS = 16
"""OpenAI's, of this API only."""

# What chat completions have and this API has not: members that nobody knows here.
_CHAT_ONLY = frozenset(
    {
        "chat_template_kwargs",
        "max_completion_tokens",
        "messages",
        "parallel_tool_calls",
        "prompt_logprobs",
        "request_id",
        "store",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
_PROMPT = re.compile(r"^raw_prompt(\.text|\.token_ids(\.ids)?|\.prompt)?")


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """A legacy request as it came over HTTP."""

    messages: tuple[ChatCompletionRequest, ...]
    """One a prompt."""
    n: int
    """Choices of each prompt that are given."""
    is_list: bool
    """The prompts came in a list, and errors say which one they are about."""
    echo: bool
    """The prompt is a part of the answer."""
    logprobs: int | None
    """Log-probabilities of the tokens, and so many of the most likely ones."""
    scores_only: bool
    """`max_tokens` is 0: nothing is generated for the caller."""
    stream: bool
    include_usage: bool
    ignored_fields: tuple[str, ...]
    json_names: Mapping[str, str]

    def in_json_terms(self, error: TokenwireError, prompt: int) -> TokenwireError:
        """An error of one of the prompts with the paths of the body."""
        name = f"prompt[{prompt}]" if self.is_list else "prompt"
        if error.reason == ErrorReason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED:
            text = str(error).replace("max_completion_tokens", "max_tokens")
            return InvalidRequestError([Violation(name, text, "context_length_exceeded")])
        if not isinstance(error, InvalidRequestError):
            return error

        def rename(violation: Violation) -> Violation:
            path = _PROMPT.sub(name, violation.field)
            return in_json_terms(violation, {violation.field: path, **self.json_names})

        return type(error)(list(dict.fromkeys(map(rename, error.violations))))


def parse_completion_request(body: Mapping[str, object]) -> ParsedCompletion:
    """Translate a JSON object. Raises `InvalidRequestError` as `parse_chat_request`."""
    reader = JsonReader()
    given = {name: value for name, value in body.items() if value is not None}
    if "model" not in given:
        reader.missing("model")
    prompts = _read_prompts(reader, given.pop("prompt", None))
    echo = reader.boolean(given.pop("echo", False), "echo") or False
    logprobs = None if "logprobs" not in given else reader.int32(given.pop("logprobs"), "logprobs")
    best_of = None if "best_of" not in given else reader.int32(given.pop("best_of"), "best_of")
    if "suffix" in given:
        refuse_unless(reader, "suffix", given.pop("suffix"), neutral=("",))
    reader.ignored.extend(name for name in list(given) if name in _CHAT_ONLY and given.pop(name) is not None)
    given.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    scores_only = given["max_tokens"] == 0 and isinstance(given["max_tokens"], int)
    if scores_only:
        given["max_tokens"] = 1  # no completion has none; the caller does not see it
    stream, include_usage = read_stream_options(reader, given)
    message = ChatCompletionRequest()
    read_parameters(reader, given, message)
    n = message.n if message.HasField("n") else 1
    if best_of is not None:
        _read_best_of(reader, best_of, message, n=n, stream=stream)
    if logprobs is not None:
        message.logprobs = True
        set_field(message, "top_logprobs", logprobs)
        if echo:
            set_field(message, "prompt_logprobs", logprobs)
    if reader.violations:
        raise InvalidRequestError(reader.violations)
    return ParsedCompletion(
        messages=tuple(_with_prompt(message, prompt) for prompt in prompts),
        n=n,
        is_list=len(prompts) > 1,
        echo=echo,
        logprobs=logprobs,
        scores_only=scores_only,
        stream=stream,
        include_usage=include_usage,
        ignored_fields=tuple(reader.ignored),
        json_names={**reader.json_names, "top_logprobs": "logprobs", "prompt_logprobs": "logprobs"},
    )


def _read_best_of(reader: JsonReader, best_of: int, message: ChatCompletionRequest, *, n: int, stream: bool) -> None:
    """So many choices are generated, and the `n` most likely ones given."""
    if best_of < n:
        reader.reject("best_of", "integer_below_min_value", f"must be at least `n`, which is {n}; got {best_of}")
    elif best_of > n and stream:
        rule = f"must be absent or `n`, which is {n}, when `stream` is true; got {best_of}"
        reader.reject("best_of", "invalid_parameter_combination", rule)
    elif best_of > n:
        message.n = best_of
        message.logprobs = True
        reader.json_names["n"] = "best_of"


def _read_prompts(reader: JsonReader, value: object) -> list[RawPrompt]:
    """A string, token ids, or a list of either."""
    if value is None:
        reader.missing("prompt")
        return []
    if isinstance(value, list) and value and not _is_integer(value[0]):
        if len(value) > MAX_PROMPTS:
            rule = f"must have at most {MAX_PROMPTS} prompts; got {len(value)}"
            reader.reject("prompt", "array_above_max_length", rule)
            return []
        return [_read_prompt(reader, item, f"prompt[{index}]") for index, item in enumerate(value)]
    return [_read_prompt(reader, value, "prompt")]


def _read_prompt(reader: JsonReader, value: object, path: str) -> RawPrompt:
    prompt = RawPrompt()
    if isinstance(value, list):
        prompt.token_ids.ids.extend(_integers(reader, value, path))
        prompt.token_ids.SetInParent()
    elif isinstance(value, str):
        prompt.text = reader.string(value, path) or ""
    else:
        reader.wrong_type(value, path, "a string or an array of token ids")
    return prompt


def _integers(reader: JsonReader, values: list[object], path: str) -> Iterator[int]:
    for index, value in enumerate(values):
        if (number := reader.int32(value, f"{path}[{index}]")) is not None:
            yield number


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _with_prompt(message: ChatCompletionRequest, prompt: RawPrompt) -> ChatCompletionRequest:
    whole = ChatCompletionRequest()
    whole.CopyFrom(message)
    whole.raw_prompt.CopyFrom(prompt)
    return whole
