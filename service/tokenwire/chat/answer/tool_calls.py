"""Tool calls, read from text that arrives piece by piece."""

import secrets
from collections.abc import Iterable, MutableSequence
from enum import Enum

from tokenwire.chat.answer.stop import unfinished_suffix
from tokenwire.chat.tool_syntax import ToolSyntax
from tokenwire.v1.chat_pb2 import ToolCallDelta


class _State(Enum):
    BETWEEN = "between"
    NAME = "name"
    ARGUMENTS = "arguments"


class ToolCallParser:
    """Reads the calls of one answer, from the trigger on.

    A call begins once its name is complete; its arguments come as they are generated. The answer's grammar sees to the
    form, so what stands between calls is not looked at; the text may end anywhere.
    """

    def __init__(self, syntax: ToolSyntax) -> None:
        self._syntax = syntax
        self._state = _State.BETWEEN
        self._held = ""
        self._num_calls = 0
        self._object = _ObjectEnd()

    @property
    def num_held(self) -> int:
        """Number of characters that are held back."""
        return len(self._held)

    def push(self, text: str) -> list[ToolCallDelta]:
        """Take the next piece of the text; parts of calls, in order."""
        self._held += text
        parts: list[ToolCallDelta] = []
        while self._held and self._step(parts):
            pass
        return parts

    def _step(self, parts: list[ToolCallDelta]) -> bool:
        """Read up to the end of the part in which the text is now; whether it was there."""
        match self._state:
            case _State.BETWEEN:
                return self._skip_to_call()
            case _State.NAME:
                return self._read_name(parts)
            case _State.ARGUMENTS:
                return self._read_arguments(parts)

    def _skip_to_call(self) -> bool:
        _, mark, rest = self._held.partition(self._syntax.before_name)
        if not mark:
            num_kept = unfinished_suffix(self._held, [self._syntax.before_name])
            self._held = self._held[len(self._held) - num_kept :]
            return False
        self._held, self._state = rest, _State.NAME
        return True

    def _read_name(self, parts: list[ToolCallDelta]) -> bool:
        name, mark, rest = self._held.partition(self._syntax.before_arguments)
        if not mark:
            return False
        parts.append(ToolCallDelta(index=self._num_calls, id=f"call_{secrets.token_hex(12)}", name=name))
        self._held, self._state, self._object = rest, _State.ARGUMENTS, _ObjectEnd()
        return True

    def _read_arguments(self, parts: list[ToolCallDelta]) -> bool:
        end = self._object.find(self._held)
        parts.append(ToolCallDelta(index=self._num_calls, arguments=self._held[:end]))
        if end is None:
            self._held = ""
            return False
        self._held, self._state = self._held[end:], _State.BETWEEN
        self._num_calls += 1
        return True


class _ObjectEnd:
    """Finds the end of a JSON object in text that arrives piece by piece."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_string = False
        self._is_escaped = False

    def find(self, text: str) -> int | None:
        """Take the next piece; the position right behind the object's last brace, None if that is yet to come."""
        for position, char in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._is_string:
                self._is_escaped = char == "\\"
                self._is_string = char != '"'
            elif char == '"':
                self._is_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return position + 1
        return None


def merge(parts: MutableSequence[ToolCallDelta], more: Iterable[ToolCallDelta]) -> None:
    """Append parts of calls to others; those of one call become one part."""
    for part in more:
        if parts and parts[-1].index == part.index:
            parts[-1].arguments += part.arguments
        else:
            parts.append(part)
