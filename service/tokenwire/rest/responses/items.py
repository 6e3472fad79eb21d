"""`instructions` and `input` of a JSON body → messages.

An answer is several items here and one message in the contract: reasoning, a text and the calls after it are put
together again.
"""

from collections.abc import Mapping

from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_reader import JsonReader, set_field, shown
from tokenwire.rest.responses.paths import BodyPaths
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, Message, Role

_ROLES: Mapping[str, Role.ValueType] = {
    "user": Role.ROLE_USER,
    "assistant": Role.ROLE_ASSISTANT,
    "system": Role.ROLE_SYSTEM,
    "developer": Role.ROLE_DEVELOPER,
}
# Type of a part → its field, in the contract and in JSON.
_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
_OUTPUT_PARTS = {"input_text": "text"}
_REASONING_PARTS = {"reasoning_text": "text"}
# What an answer that is sent back has, and a prompt has not.
_OUTPUT_ONLY = frozenset({"annotations", "caller", "id", "logprobs", "namespace", "phase", "status", "summary", "type"})


class InputReader:
    """Reads the items of one request in order, and notes what of the contract stands where in the body."""

    def __init__(self, reader: JsonReader, request: ChatCompletionRequest, paths: BodyPaths) -> None:
        self._reader = reader
        self._messages = request.messages
        self._paths = paths

    def read_instructions(self, value: object) -> None:
        """They come before the input, as a system message."""
        message = self._add("instructions", Role.ROLE_SYSTEM)
        set_field(message, "content", self._reader.string(value, "instructions"))
        self._note("content", "instructions")

    def read_input(self, value: object) -> None:
        """A string, which is what the user says, or items."""
        if isinstance(value, str):
            message = self._add("input", Role.ROLE_USER)
            set_field(message, "content", self._reader.string(value, "input"))
            self._note("content", "input")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                path = f"input[{index}]"
                if (members := self._reader.members(item, path)) is not None:
                    self._read_item(members, path)
        else:
            self._reader.wrong_type(value, "input", "a string or an array of items")

    def _read_item(self, item: dict[str, object], path: str) -> None:
        match item.get("type", "message"):
            case "message":
                self._read_message(item, path)
            case "reasoning":
                self._read_reasoning(item, path)
            case "function_call":
                self._read_call(item, path)
            case "function_call_output":
                self._read_output(item, path)
            case "item_reference":
                rule = "is not supported here: no items are kept; send the item itself"
                self._reader.reject(f"{path}.type", "unsupported_parameter", rule)
            case other:
                kinds = '"message", "reasoning", "function_call", "function_call_output"'
                rule = f"must be one of {kinds} (the model reads text and calls functions); got {shown(other)}"
                self._reader.reject(f"{path}.type", "invalid_value", rule)

    def _read_message(self, item: dict[str, object], path: str) -> None:
        role = None
        if "role" in item:
            role = self._reader.one_of(item.pop("role"), f"{path}.role", _ROLES)
        else:
            self._reader.missing(f"{path}.role")
        last = self._last_answer()
        if role == Role.ROLE_ASSISTANT and last is not None and not (_has_text(last) or last.tool_calls):
            message = last  # of which only the reasoning has come
            message.ClearField("body")
        else:
            message = self._add(path, role)
        self._read_text(message, item, "content", path, parts=_PARTS)
        self._ignore_others(item, path)

    def _read_reasoning(self, item: dict[str, object], path: str) -> None:
        """The text; a summary is for people. What is encrypted can be read by nobody here."""
        if "encrypted_content" in item:
            refuse_unless(self._reader, f"{path}.encrypted_content", item.pop("encrypted_content"), neutral=("",))
        parts = self._reader.array(item.pop("content", []), f"{path}.content") or []
        texts = [
            self._read_part(part, f"{path}.content[{index}]", _REASONING_PARTS) for index, part in enumerate(parts)
        ]
        self._ignore_others(item, path)
        if not texts:
            return
        last = self._last_answer()
        if last is None or _has_text(last) or last.tool_calls:
            last = self._add(path, Role.ROLE_ASSISTANT)
            last.content = ""  # it may have been cut before there was any
        last.reasoning += "".join(part.text for part in texts if part is not None)
        self._note("reasoning", f"{path}.content")

    def _read_call(self, item: dict[str, object], path: str) -> None:
        message = self._last_answer() or self._add(path, Role.ROLE_ASSISTANT)
        place = f"tool_calls[{len(message.tool_calls)}]"
        self._note(place, path)
        self._note(f"{place}.id", f"{path}.call_id")
        self._note(f"{place}.function", path)
        call = message.tool_calls.add()
        call.function.SetInParent()
        for name, target, field in (
            ("call_id", call, "id"),
            ("name", call.function, "name"),
            ("arguments", call.function, "arguments"),
        ):
            if name in item:
                set_field(target, field, self._reader.string(item.pop(name), f"{path}.{name}"))
            else:
                self._reader.missing(f"{path}.{name}")
        self._ignore_others(item, path)

    def _read_output(self, item: dict[str, object], path: str) -> None:
        message = self._add(path, Role.ROLE_TOOL)
        self._note("tool_call_id", f"{path}.call_id")
        if "call_id" in item:
            set_field(message, "tool_call_id", self._reader.string(item.pop("call_id"), f"{path}.call_id"))
        else:
            self._reader.missing(f"{path}.call_id")
        self._read_text(message, item, "output", path, parts=_OUTPUT_PARTS)
        self._ignore_others(item, path)

    def _read_text(
        self, message: Message, item: dict[str, object], name: str, path: str, *, parts: Mapping[str, str]
    ) -> None:
        """What a message says: a string, or parts of these types."""
        field = f"{path}.{name}"
        self._note("content", field)
        self._note("content_parts.parts", field)
        if name not in item:
            self._reader.missing(field)
            return
        value = item.pop(name)
        if isinstance(value, str):
            set_field(message, "content", self._reader.string(value, field))
        elif isinstance(value, list):
            read = (self._read_part(part, f"{field}[{index}]", parts) for index, part in enumerate(value))
            message.content_parts.parts.extend(part for part in read if part is not None)
            message.content_parts.SetInParent()
        else:
            self._reader.wrong_type(value, field, "a string or an array of parts")

    def _read_part(self, value: object, path: str, parts: Mapping[str, str]) -> ContentPart | None:
        item = self._reader.members(value, path)
        if item is None:
            return None
        kind = item.get("type")
        if kind is None:
            self._reader.missing(f"{path}.type")
            return None
        if not isinstance(kind, str) or kind not in parts:
            kinds = " or ".join(map(shown, parts))
            rule = f"must be {kinds} (the model reads text); got {shown(kind)}"
            self._reader.reject(f"{path}.type", "invalid_value", rule)
            return None
        part, field = ContentPart(), parts[kind]
        if field in item:
            set_field(part, field, self._reader.string(item.pop(field), f"{path}.{field}"))
        else:
            self._reader.missing(f"{path}.{field}")
        self._ignore_others(item, path)
        return part

    def _add(self, path: str, role: Role.ValueType | None) -> Message:
        message = self._messages.add()
        set_field(message, "role", role)
        self._paths.add(f"messages[{len(self._messages) - 1}]", path)
        return message

    def _note(self, field: str, path: str) -> None:
        """A field of the last message stands there in the body."""
        self._paths.add(f"messages[{len(self._messages) - 1}].{field}", path)

    def _last_answer(self) -> Message | None:
        """The message before, if it is the assistant's."""
        last = self._messages[-1] if self._messages else None
        return last if last is not None and last.role == Role.ROLE_ASSISTANT else None

    def _ignore_others(self, item: Mapping[str, object], path: str) -> None:
        self._reader.ignore(path, (name for name in item if name not in _OUTPUT_ONLY))


def _has_text(message: Message) -> bool:
    return bool(message.content) or message.HasField("content_parts")
