"""JSON body of a chat completion → contract message.

Types only: ranges are checked by the chat service, for gRPC and REST alike.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message as ProtoMessage

from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.rest.json_reader import JsonReader, scalar_readers, shown
from tokenwire.rest.unserved import read_unserved, read_unserved_in_message, refuse_unless
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, Message, Role

# A scalar field of the contract has the name and the JSON type that the OpenAI API gives it.
_REQUEST_SCALARS = scalar_readers(ChatCompletionRequest)
_MESSAGE_SCALARS = scalar_readers(Message)
_PART_SCALARS = scalar_readers(ContentPart)
_ROLES: Mapping[str, Role.ValueType] = {
    name.removeprefix("ROLE_").lower(): value for name, value in Role.items() if value != Role.ROLE_UNSPECIFIED
}
_REQUIRED = ("model", "messages")
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
        return InvalidRequestError([self._renamed(violation) for violation in error.violations])

    def _renamed(self, violation: Violation) -> Violation:
        path = violation.field.replace(".content_parts.parts", ".content").replace(".content_parts", ".content")
        path = self.json_names.get(path, path)
        return Violation(path, violation.description.replace(f"`{violation.field}`", f"`{path}`"), violation.code)


def parse_chat_request(body: Mapping[str, object]) -> ParsedRequest:
    """Translate a JSON object. Raises `InvalidRequestError` with every value of a wrong type and every field that is
    known but not served; null is absent."""
    reader = JsonReader()
    message = ChatCompletionRequest()
    given = {name: value for name, value in body.items() if value is not None}
    for name in _REQUIRED:
        if name not in given:
            reader.reject(name, "missing_required_parameter", "is required")
    stream = reader.boolean(given.pop("stream", False), "stream") or False
    include_usage = _read_stream_options(reader, given.pop("stream_options", None), stream=stream)
    json_names = _rename_older_forms(reader, given)
    for name, value in given.items():
        if name in _REQUEST_SCALARS:
            _set(message, name, _REQUEST_SCALARS[name](reader, value, json_names.get(name, name)))
        elif name in _COMPOUND_FIELDS:
            _COMPOUND_FIELDS[name](reader, value, message)
        else:
            read_unserved(reader, name, value)
    if reader.violations:
        raise InvalidRequestError(reader.violations)
    return ParsedRequest(message, stream, include_usage, tuple(reader.ignored), json_names)


def _set(message: ProtoMessage, name: str, value: object) -> None:
    """Set a field to what was read; None is what was refused."""
    if value is not None:
        setattr(message, name, value)


def _read_stream_options(reader: JsonReader, value: object, *, stream: bool) -> bool:
    """Returns `include_usage`."""
    if value is None:
        return False
    if not stream:
        reader.reject("stream_options", "invalid_parameter_combination", "is only allowed when `stream` is true")
    include_usage = False
    for name, option in (reader.mapping(value, "stream_options") or {}).items():
        path = f"stream_options.{name}"
        if option is None:
            continue
        if name == "include_usage":
            include_usage = reader.boolean(option, path) or False
        elif name == "include_obfuscation":
            refuse_unless(reader, path, option, neutral=(False,))
        else:
            reader.ignored.append(path)
    return include_usage


def _rename_older_forms(reader: JsonReader, given: dict[str, object]) -> Mapping[str, str]:
    """Bring `max_tokens` and a single `stop` into the contract's form. Returns contract path → path in the body."""
    json_names: dict[str, str] = {}
    if "max_tokens" in given:
        if "max_completion_tokens" in given:
            rule = "and `max_completion_tokens` are one parameter; set only one of them"
            reader.reject("max_tokens", "invalid_parameter_combination", rule)
        given["max_completion_tokens"] = given.pop("max_tokens")
        json_names["max_completion_tokens"] = "max_tokens"
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
        json_names["stop[0]"] = "stop"
    return json_names


def _read_messages(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    for index, item in enumerate(reader.array(value, "messages") or []):
        path = f"messages[{index}]"
        _read_message(reader, reader.mapping(item, path) or {}, path, request.messages.add())


def _read_message(reader: JsonReader, item: Mapping[str, object], path: str, message: Message) -> None:
    for name, value in item.items():
        if value is None:
            continue
        if name == "role":
            _read_role(reader, value, f"{path}.role", message)
        elif name == "content" and not isinstance(value, str):
            _read_parts(reader, value, f"{path}.content", message)
        elif name in _MESSAGE_SCALARS:
            _set(message, name, _MESSAGE_SCALARS[name](reader, value, f"{path}.{name}"))
        else:
            read_unserved_in_message(reader, path, name, value)


def _read_role(reader: JsonReader, value: object, path: str, message: Message) -> None:
    role = reader.string(value, path)
    if role is None:
        return
    if role in _ROLES:
        message.role = _ROLES[role]
    else:
        reader.reject(path, "invalid_value", f"must be one of {', '.join(map(shown, _ROLES))}; got {shown(role)}")


def _read_parts(reader: JsonReader, value: object, path: str, message: Message) -> None:
    if not isinstance(value, list):
        reader.wrong_type(value, path, "a string or an array of parts")
        return
    message.content_parts.SetInParent()
    for index, item in enumerate(value):
        part = reader.mapping(item, f"{path}[{index}]")
        if part is not None:
            _read_part(reader, part, f"{path}[{index}]", message.content_parts.parts.add())


def _read_part(reader: JsonReader, item: Mapping[str, object], path: str, part: ContentPart) -> None:
    """A part is `{"type": "text", "text": …}`: the type names the field, in the contract and in JSON."""
    kind = item.get("type")
    if kind is None:
        reader.reject(f"{path}.type", "missing_required_parameter", "is required")
        return
    if not isinstance(kind, str) or kind not in _PART_SCALARS:
        kinds = " or ".join(map(shown, _PART_SCALARS))
        reader.reject(f"{path}.type", "invalid_value", f"must be {kinds} (the model reads text); got {shown(kind)}")
        return
    if item.get(kind) is None:
        reader.reject(f"{path}.{kind}", "missing_required_parameter", "is required")
    else:
        _set(part, kind, _PART_SCALARS[kind](reader, item[kind], f"{path}.{kind}"))
    reader.ignored.extend(f"{path}.{name}" for name in item if name not in ("type", kind))


def _read_stop(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    if not isinstance(value, list):
        reader.wrong_type(value, "stop", "a string or an array of strings")
        return
    for index, item in enumerate(value):
        request.stop.append(reader.string(item, f"stop[{index}]") or "")


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


_COMPOUND_FIELDS: Mapping[str, Callable[[JsonReader, object, ChatCompletionRequest], None]] = {
    "messages": _read_messages,
    "stop": _read_stop,
    "stop_token_ids": _read_stop_token_ids,
    "logit_bias": _read_logit_bias,
}
