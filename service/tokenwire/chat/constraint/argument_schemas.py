"""The JSON schemas that the arguments of a request's functions are constrained to."""

import json
from collections.abc import Mapping, Sequence

from tokenwire.chat.constraint.schema_gaps import gaps
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import FunctionDefinition, Tool

JsonSchema = Mapping[str, object]

_ANY_OBJECT: JsonSchema = {"type": "object"}
_NO_ARGUMENTS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}


class ArgumentSchemas:
    """Function name → schema. What a strict function asks must be enforceable; another's schema that cannot be
    enforced gives way to any object."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._schemas = {tool.function.name: _own_schema(tool.function) for tool in tools}
        self._reasons: dict[str, str] = {}
        self.give_up({name: str(found[0]) for name, schema in self._schemas.items() if (found := gaps(schema))})

    @property
    def problems(self) -> Sequence[Violation]:
        """What cannot be enforced of strict functions."""
        return [
            not_enforceable(f"tools[{index}].function.parameters", self._reasons[tool.function.name])
            for index, tool in enumerate(self._tools)
            if tool.function.strict and tool.function.name in self._reasons
        ]

    def items(self) -> Sequence[tuple[str, JsonSchema]]:
        """What is in force."""
        return tuple(self._schemas.items())

    def give_up(self, reasons: Mapping[str, str]) -> None:
        """Note why the schemas of some functions, by name, cannot be enforced."""
        self._reasons.update(reasons)
        self._schemas.update(dict.fromkeys(reasons, _ANY_OBJECT))


def not_enforceable(field: str, reason: str) -> Violation:
    """The violation of a schema or grammar that cannot be enforced."""
    return Violation(field, f"`{field}`: {reason}")


def _own_schema(function: FunctionDefinition) -> JsonSchema:
    return {"type": "object", **json.loads(function.parameters)} if function.parameters else _NO_ARGUMENTS
