"""Tools and their choice: what callers may pass, and the contract's messages made of it."""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from tokenwire.v1.chat_pb2 import FunctionDefinition, Tool, ToolChoice, ToolChoiceMode
from tokenwire_client._dicts import enum_value, json_text, refuse_unknown_keys


class FunctionDict(TypedDict):
    """A function that the model may call; `parameters` is a JSON schema, as a dict or as text."""

    name: str
    description: NotRequired[str]
    parameters: NotRequired[Mapping[str, Any] | str]
    strict: NotRequired[bool | None]


class ToolDict(TypedDict):
    """A tool as a dict: `{"type": "function", "function": {"name": "…", "parameters": {…}}}`."""

    type: Literal["function"]
    function: FunctionDict


class FunctionNameDict(TypedDict):
    """The name of a function."""

    name: str


class ToolChoiceDict(TypedDict):
    """The choice of one function: `{"type": "function", "function": {"name": "…"}}`."""

    type: Literal["function"]
    function: FunctionNameDict


ToolChoiceName = Literal["none", "auto", "required"]


def function(
    name: str, parameters: Mapping[str, Any] | str | None = None, *, description: str = "", strict: bool = False
) -> Tool:
    """A function that the model may call. `parameters` is the JSON schema of its arguments; None: it has none."""
    schema = "" if parameters is None else json_text(parameters)
    return Tool(function=FunctionDefinition(name=name, description=description, parameters=schema, strict=strict))


def to_tool(given: Tool | ToolDict) -> Tool:
    """Raises `ValueError` for a dict that is no tool, `TypeError` for a value of a wrong type."""
    if isinstance(given, Tool):
        return given
    described = _function_of(given, what="a tool")
    refuse_unknown_keys(described, FunctionDict.__annotations__, what="a function")
    return function(
        described["name"],
        described.get("parameters"),
        description=described.get("description") or "",
        strict=described.get("strict") or False,
    )


def to_tool_choice(given: ToolChoice | ToolChoiceName | ToolChoiceDict) -> ToolChoice:
    """Raises `ValueError` for what is no choice, `TypeError` for a value of a wrong type."""
    if isinstance(given, ToolChoice):
        return given
    if isinstance(given, str):
        return ToolChoice(mode=enum_value(ToolChoiceMode.items(), given, field="tool_choice"))
    chosen = _function_of(given, what="a tool choice")
    refuse_unknown_keys(chosen, FunctionNameDict.__annotations__, what="a chosen function")
    return ToolChoice(function_name=chosen["name"])


def _function_of(given: Mapping[str, Any], *, what: str) -> Mapping[str, Any]:
    """What `{"type": "function", "function": {"name": …}}` has to say of the function."""
    refuse_unknown_keys(given, ("type", "function"), what=what)
    match given:
        case {"type": "function", "function": {"name": str()} as described}:
            return dict(described)
    raise ValueError(f"{what} must be {{'type': 'function', 'function': {{'name': …}}}}; got {given!r}")
