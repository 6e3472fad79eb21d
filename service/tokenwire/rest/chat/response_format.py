"""JSON `response_format` → contract: the forms of the OpenAI API, and `regex`, `lark` and `choice`."""

from collections.abc import Callable, Mapping

from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_reader import JsonReader, ScalarReader, scalar_readers, set_field
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, JsonSchemaFormat, ResponseFormat

_PATH = "response_format"
_SCHEMA_FIELDS: Mapping[str, ScalarReader] = {**scalar_readers(JsonSchemaFormat), "schema": JsonReader.json_text}


def read_response_format(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Read `response_format`: `{"type": "text"}`, `{"type": "json_object"}`, and `{"type": T, T: …}` for the others."""
    members = reader.members(value, _PATH)
    if members is None:
        return
    kind = members.pop("type", None)
    if kind is None:
        reader.missing(f"{_PATH}.type")
        return
    read_form = reader.one_of(kind, f"{_PATH}.type", _FORMS)
    if read_form is None:
        return
    assert isinstance(kind, str)
    read_form(reader, kind, members.pop(kind, None), request.response_format)
    for name, other in members.items():
        if name == "schema":  # of json_object, to some servers
            refuse_unless(reader, f"{_PATH}.schema", other, neutral=())
        else:
            reader.ignored.append(f"{_PATH}.{name}")


def _read_bare(reader: JsonReader, kind: str, value: object, form: ResponseFormat) -> None:
    getattr(form, kind).SetInParent()


def _read_json_schema(reader: JsonReader, kind: str, value: object, form: ResponseFormat) -> None:
    form.json_schema.SetInParent()
    if value is None:
        reader.missing(f"{_PATH}.{kind}")
    else:
        reader.fill(form.json_schema, reader.members(value, f"{_PATH}.{kind}") or {}, f"{_PATH}.{kind}", _SCHEMA_FIELDS)


def _read_text(reader: JsonReader, kind: str, value: object, form: ResponseFormat) -> None:
    if value is None:
        reader.missing(f"{_PATH}.{kind}")
    else:
        set_field(form, kind, reader.string(value, f"{_PATH}.{kind}"))


def _read_choice(reader: JsonReader, kind: str, value: object, form: ResponseFormat) -> None:
    form.choice.SetInParent()
    if value is None:
        reader.missing(f"{_PATH}.{kind}")
    else:
        form.choice.options.extend(reader.strings(value, f"{_PATH}.{kind}"))


_FORMS: Mapping[str, Callable[[JsonReader, str, object, ResponseFormat], None]] = {
    "text": _read_bare,
    "json_object": _read_bare,
    "json_schema": _read_json_schema,
    "regex": _read_text,
    "lark": _read_text,
    "choice": _read_choice,
}
