"""JSON body of a chat completion → contract message.

Types only: ranges are checked by the chat service, for gRPC and REST alike.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokenwire.errors import InvalidRequestError
from tokenwire.rest.chat.execution_policy import read_execution_policy
from tokenwire.rest.chat.messages import read_messages
from tokenwire.rest.chat.response_format import read_response_format
from tokenwire.rest.chat.tools import read_tool_choice, read_tools
from tokenwire.rest.chat.unserved import read_unserved, refuse_unless
from tokenwire.rest.json_names import in_json_terms
from tokenwire.rest.json_reader import JsonReader, ScalarReader, enum_words, scalar_readers, set_field, shown
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ServiceTier

# A scalar field of the contract has the name and the JSON type that the OpenAI API gives it, but for JSON as text.
_SCALARS: Mapping[str, ScalarReader] = {
    **scalar_readers(ChatCompletionRequest),
    "chat_template_kwargs": JsonReader.json_text,
}
_SERVICE_TIERS = enum_words(ServiceTier.items(), prefix="SERVICE_TIER_")
_REQUIRED = ("model", "messages")
_MAX_KEY_SHOWN = 64
_TOKEN_ID = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A chat completion request as it came over HTTP."""

    message: ChatCompletionRequest
    stream: bool
    """Server-sent events instead of one answer."""
    include_usage: bool
    """A last chunk with the token counts."""
    ignored_fields: tuple[str, ...]
    """Paths of the fields that nobody knows."""
    json_names: Mapping[str, str]
    """Contract path → JSON path, where this request has another one."""

    def in_json_terms(self, error: InvalidRequestError) -> InvalidRequestError:
        """The same error with the paths of the JSON body in place of those of the contract."""
        return type(error)([in_json_terms(violation, self.json_names) for violation in error.violations])


def parse_chat_request(body: Mapping[str, object]) -> ParsedRequest:
    """Translate a JSON object. Raises `InvalidRequestError` with every value of a wrong type and every field that is
    known but not served; null is absent."""
    reader = JsonReader()
    message = ChatCompletionRequest()
    given = {name: value for name, value in body.items() if value is not None}
    for name in _REQUIRED:
        if name not in given:
            reader.reject(name, "missing_required_parameter", "is required")
    stream, include_usage = read_stream_options(reader, given)
    read_parameters(reader, given, message)
    if reader.violations:
        raise InvalidRequestError(reader.violations)
    return ParsedRequest(message, stream, include_usage, tuple(reader.ignored), reader.json_names)


def read_parameters(reader: JsonReader, given: dict[str, object], message: ChatCompletionRequest) -> None:
    """Set the fields of a message from members of the body, none of them null; looks at those that it does not have."""
    _rename_older_forms(reader, given)
    for name, value in given.items():
        if name in _SCALARS:
            set_field(message, name, _SCALARS[name](reader, value, reader.json_names.get(name, name)))
        elif name in _COMPOUND_FIELDS:
            _COMPOUND_FIELDS[name](reader, value, message)
        else:
            read_unserved(reader, name, value)


def read_stream_options(reader: JsonReader, given: dict[str, object]) -> tuple[bool, bool]:
    """Take `stream` and `stream_options` out of the members: whether to stream, and whether with usage."""
    stream = reader.boolean(given.pop("stream", False), "stream") or False
    return stream, _read_stream_options(reader, given.pop("stream_options", None), stream=stream)


def _read_stream_options(reader: JsonReader, value: object, *, stream: bool) -> bool:
    """Returns `include_usage`."""
    if value is None:
        return False
    if not stream:
        reader.reject("stream_options", "invalid_parameter_combination", "is only allowed when `stream` is true")
    include_usage = False
    for name, option in (reader.members(value, "stream_options") or {}).items():
        path = f"stream_options.{name}"
        if name == "include_usage":
            include_usage = reader.boolean(option, path) or False
        elif name == "include_obfuscation":
            refuse_unless(reader, path, option, neutral=(False,))
        else:
            reader.ignored.append(path)
    return include_usage


def _rename_older_forms(reader: JsonReader, given: dict[str, object]) -> None:
    """Bring `max_tokens` and a single `stop` into the contract's form."""
    if "max_tokens" in given:
        if "max_completion_tokens" in given:
            rule = "and `max_completion_tokens` are one parameter; set only one of them"
            reader.reject("max_tokens", "invalid_parameter_combination", rule)
        given["max_completion_tokens"] = given.pop("max_tokens")
        reader.json_names["max_completion_tokens"] = "max_tokens"
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
        reader.json_names["stop[0]"] = "stop"


def _read_stop(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    if isinstance(value, list):
        request.stop.extend(reader.strings(value, "stop"))
    else:
        reader.wrong_type(value, "stop", "a string or an array of strings")


def _read_bad_words(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    request.bad_words.extend(reader.strings(value, "bad_words"))


def _read_stop_token_ids(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    for index, item in enumerate(reader.array(value, "stop_token_ids") or []):
        request.stop_token_ids.append(reader.int32(item, f"stop_token_ids[{index}]") or 0)


def _read_logit_bias(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    for key, item in (reader.mapping(value, "logit_bias") or {}).items():
        if not _TOKEN_ID.fullmatch(key) or len(key) > 20:
            reader.reject("logit_bias", "invalid_value", f"must have token ids as keys; got {shown(key)}")
            continue
        path = f"logit_bias[{key}]"
        token_id = reader.int32(int(key), path)
        bias = reader.number(item, path)
        if token_id is not None and bias is not None:
            request.logit_bias[token_id] = bias


def _read_metadata(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    for key, item in (reader.mapping(value, "metadata") or {}).items():
        if reader.string(key, "metadata") is None:
            continue
        tag = reader.string(item, f"metadata[{key[:_MAX_KEY_SHOWN]}]")
        if tag is not None:
            request.metadata[key] = tag


def _read_service_tier(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    set_field(request, "service_tier", reader.one_of(value, "service_tier", _SERVICE_TIERS))


def _read_priority(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    set_field(request.execution_policy, "priority", reader.int32(value, "priority"))


_COMPOUND_FIELDS: Mapping[str, Callable[[JsonReader, object, ChatCompletionRequest], None]] = {
    "bad_words": _read_bad_words,
    "execution_policy": read_execution_policy,
    "logit_bias": _read_logit_bias,
    "messages": read_messages,
    "metadata": _read_metadata,
    "priority": _read_priority,
    "response_format": read_response_format,
    "service_tier": _read_service_tier,
    "stop": _read_stop,
    "stop_token_ids": _read_stop_token_ids,
    "tool_choice": read_tool_choice,
    "tools": read_tools,
}
