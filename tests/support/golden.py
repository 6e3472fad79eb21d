"""Wire bytes of the contract, written once: `PYTHONPATH=tests python -m support.golden` adds those of what is new.

A fixture is a message as text, with its bytes in a comment on top. The bytes come from `protoc`, which is not what the
tests read them with. A fixture never changes: it is what clients of any age send and read.
"""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from tokenwire.v1 import chat_pb2, errors_pb2, models_pb2, operations_pb2, tokens_pb2

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/contract/golden"
MODULES = (chat_pb2, errors_pb2, models_pb2, operations_pb2, tokens_pb2)
INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),  # values that no enum of ours has
    FieldDescriptor.TYPE_DOUBLE: (-float("inf"), 1.7976931348623157e308),
    FieldDescriptor.TYPE_FLOAT: (-float("inf"), 3.4028234663852886e38),
}
"""Lowest and highest values of the types that have them."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A fixture."""

    descriptor: Descriptor
    case: str
    text: str
    wire: bytes

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return f"{self.descriptor.name}.{self.case}"

    def message(self) -> Message:
        """The text, read."""
        return text_format.Parse(self.text, message_factory.GetMessageClass(self.descriptor)())


def descriptors() -> Iterator[Descriptor]:
    """All messages of the contract."""
    for module in MODULES:
        file: FileDescriptor = module.DESCRIPTOR
        yield from file.message_types_by_name.values()


def read() -> list[Golden]:
    """All fixtures."""
    known = {descriptor.name: descriptor for descriptor in descriptors()}
    found = []
    for path in sorted(FOLDER.glob("*.txtpb")):
        message, case = path.stem.split(".")
        first, _, text = path.read_text().partition("\n")
        found.append(Golden(known[message], case, text, bytes.fromhex(first.removeprefix("# bytes:"))))
    return found


def fields_set(message: Message) -> set[FieldDescriptor]:
    """The message's own."""
    return {field for field, _ in message.ListFields()}


def cases(descriptor: Descriptor, fields: Iterable[FieldDescriptor]) -> Iterator[tuple[str, Message]]:
    """Messages in which these fields are set in all ways that matter."""
    fields = list(fields)
    make = message_factory.GetMessageClass(descriptor)
    oneofs: dict[str, list[FieldDescriptor]] = {}
    for field in fields:
        if field.containing_oneof is not None and not _is_optional(field):
            oneofs.setdefault(field.containing_oneof.name, []).append(field)
    others = {arm for arms in oneofs.values() for arm in arms[1:]}

    def filled(fill: Callable[[Message, FieldDescriptor], None], chosen: Iterable[FieldDescriptor]) -> Message:
        message = make()
        for field in chosen:
            fill(message, field)
        return message

    yield "all", filled(_fill, (field for field in fields if field not in others))
    for arm in sorted(others, key=lambda field: field.number):
        yield arm.name, filled(_fill, [arm])
    if present := [field for field in fields if field.has_presence and field not in others]:
        yield "empty", filled(_fill_empty, present)
    if ranged := [field for field in fields if field.type in INTEGERS and not _is_map(field) and field not in others]:
        yield "lowest", filled(lambda message, field: _set(message, field, INTEGERS[field.type][0]), ranged)
        yield "highest", filled(lambda message, field: _set(message, field, INTEGERS[field.type][1]), ranged)


def _is_optional(field: FieldDescriptor) -> bool:
    """Whether its oneof is the one that `optional` makes."""
    assert field.containing_oneof is not None
    return field.containing_oneof.name == f"_{field.name}"


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _set(message: Message, field: FieldDescriptor, value: object) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _fill_empty(message: Message, field: FieldDescriptor) -> None:
    """Present, with nothing in it."""
    if field.message_type is None:
        setattr(message, field.name, field.default_value)
    else:
        getattr(message, field.name).SetInParent()


def _fill(message: Message, field: FieldDescriptor) -> None:
    """With a value that tells the field from others."""
    if _is_map(field):
        _fill_map(message, field)
    elif field.message_type is not None:
        value = getattr(message, field.name)
        value = value.add() if field.is_repeated else value
        value.SetInParent()
        _fill_all(value, field.message_type)
    else:
        _set(message, field, _value(field))
        if field.is_repeated:
            _set(message, field, _value(field))


def _fill_all(message: Message, descriptor: Descriptor) -> None:
    """All fields; the first of each oneof."""
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is None or oneof.fields[0] == field:
            _fill(message, field)


def _fill_map(message: Message, field: FieldDescriptor) -> None:
    assert field.message_type is not None
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    getattr(message, field.name)[_value(key)] = _value(value)


def _value(field: FieldDescriptor) -> object:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return f"{field.name} ß水😀"
        case FieldDescriptor.TYPE_BYTES:
            return b"\x00\x7f\x80\xff"
        case FieldDescriptor.TYPE_BOOL:
            return True
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            return field.enum_type.values[-1].number
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return field.number + 0.25
        case _:
            return field.number * 1000


def _encode(descriptor: Descriptor, text: str) -> bytes:
    """By protoc."""
    protoc = (sys.executable, "-m", "grpc_tools.protoc", "-I", "proto")
    return subprocess.run(
        [*protoc, "--encode", descriptor.full_name, descriptor.file.name],
        cwd=ROOT,
        input=text.encode(),
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout


def _add() -> None:
    FOLDER.mkdir(exist_ok=True)
    have: dict[str, set[FieldDescriptor]] = {}
    for golden in read():
        have.setdefault(golden.descriptor.name, set()).update(fields_set(golden.message()))
    for descriptor in descriptors():
        known = have.get(descriptor.name)
        new = [field for field in descriptor.fields if known is None or field not in known]
        if known is not None and not new:
            continue
        prefix = "" if known is None else f"{new[0].name}_"
        for case, message in cases(descriptor, new):
            text = text_format.MessageToString(message, as_utf8=True)
            path = FOLDER / f"{descriptor.name}.{prefix}{case}.txtpb"
            path.write_text(f"# bytes: {_encode(descriptor, text).hex(' ')}\n{text}")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    _add()
