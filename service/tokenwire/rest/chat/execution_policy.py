"""`execution_policy` of a JSON body, an extension: times are numbers of seconds, enums are words."""

from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_reader import JsonReader, enum_words, set_field, shown
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, OnDisconnect

_PATH = "execution_policy"
_TIMES = {f"{field}_s": field for field in ("max_queue_time", "time_budget", "retain_for")}
_MAX_SECONDS = 315_576_000_000
"""What a `google.protobuf.Duration` can be."""
_ON_DISCONNECT = enum_words(OnDisconnect.items(), prefix="ON_DISCONNECT_")


def read_execution_policy(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Translate the object. `priority` has its own place in the body."""
    for name, item in (reader.members(value, _PATH) or {}).items():
        path = f"{_PATH}.{name}"
        if name in _TIMES:
            _read_time(reader, item, path, _TIMES[name], request)
        elif name == "on_disconnect":
            set_field(request.execution_policy, name, reader.one_of(item, path, _ON_DISCONNECT))
        elif name == "on_deadline":  # an HTTP request has no deadline
            refuse_unless(reader, path, item, neutral=("fail",))
        else:
            reader.ignored.append(path)


def _read_time(reader: JsonReader, item: object, path: str, field: str, request: ChatCompletionRequest) -> None:
    seconds = reader.number(item, path)
    if seconds is None:
        return
    if not abs(seconds) <= _MAX_SECONDS:  # NaN, too
        reader.reject(path, "invalid_value", f"must be in [{-_MAX_SECONDS}, {_MAX_SECONDS}]; got {shown(item)}")
        return
    getattr(request.execution_policy, field).FromNanoseconds(round(seconds * 1e9))
