"""The rules of the tools of a request, and of how they are chosen."""

from collections.abc import Iterator, Sequence

from tokenwire.chat.tool_choice import active_tools
from tokenwire.chat.validation.json_text import parse_json_object
from tokenwire.chat.validation.limits import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_TOOLS
from tokenwire.chat.validation.rules import check_count, check_name, missing
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, FunctionDefinition, Tool, ToolChoice, ToolChoiceMode

COMBINATION = "invalid_parameter_combination"


def check_tools(request: ChatCompletionRequest) -> Iterator[Violation]:
    """Every violation in `tools`, `tool_choice`, `parallel_tool_calls`, and in what goes with them."""
    yield from _check_definitions(request.tools)
    if request.HasField("tool_choice"):
        yield from _check_choice(request.tool_choice, request.tools)
    if request.HasField("parallel_tool_calls") and not request.tools:
        yield Violation("parallel_tool_calls", "`parallel_tool_calls` needs `tools`; got none", COMBINATION)
    form = request.response_format.WhichOneof("format")
    if form not in (None, "text") and active_tools(request):
        description = f"`response_format` must be text beside `tools`, unless `tool_choice` is none; got {form}"
        yield Violation("response_format", description, COMBINATION)


def _check_definitions(tools: Sequence[Tool]) -> Iterator[Violation]:
    yield from check_count("tools", len(tools), MAX_TOOLS, "tools")
    size = sum(len(tool.function.parameters.encode()) for tool in tools)
    if size > MAX_SCHEMA_BYTES:
        description = f"`tools` must have at most {MAX_SCHEMA_BYTES} bytes of parameters together; got {size}"
        yield Violation("tools", description, "string_above_max_length")
        return
    names: set[str] = set()
    for index, tool in enumerate(tools[:MAX_TOOLS]):
        path = f"tools[{index}].function"
        if not tool.HasField("function"):
            yield missing(path)
            continue
        yield from _check_function(path, tool.function)
        if (name := tool.function.name) in names:
            yield Violation(f"{path}.name", f"`{path}.name` must differ from those of the tools before; got {name!r}")
        names.add(name)


def _check_function(path: str, function: FunctionDefinition) -> Iterator[Violation]:
    if function.name:
        yield from check_name(f"{path}.name", function.name)
    else:
        yield missing(f"{path}.name")
    if function.parameters:
        yield from _check_parameters(f"{path}.parameters", function.parameters)


def _check_parameters(field: str, text: str) -> Iterator[Violation]:
    schema = parse_json_object(field, text, max_bytes=MAX_SCHEMA_BYTES, max_depth=MAX_SCHEMA_DEPTH)
    if isinstance(schema, Violation):
        yield schema
    elif schema.get("type", "object") != "object":
        description = f"`{field}` must be the schema of an object; got the type {str(schema['type'])[:40]!r}"
        yield Violation(field, description)


def _check_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Iterator[Violation]:
    if choice.WhichOneof("choice") is None:
        yield missing("tool_choice.choice")
    elif choice.WhichOneof("choice") == "mode":
        yield from _check_mode(choice.mode, tools)
    elif choice.function_name not in {tool.function.name for tool in tools}:
        field = "tool_choice.function_name"
        yield Violation(field, f"`{field}` must be the name of a function in `tools`; got {choice.function_name!r}")


def _check_mode(mode: "ToolChoiceMode.ValueType", tools: Sequence[Tool]) -> Iterator[Violation]:
    field = "tool_choice.mode"
    if mode not in ToolChoiceMode.values():
        yield Violation(field, f"`{field}` must be a known mode; got {mode}")
    elif mode == ToolChoiceMode.TOOL_CHOICE_MODE_UNSPECIFIED:
        yield missing(field)
    elif mode != ToolChoiceMode.TOOL_CHOICE_MODE_NONE and not tools:
        yield Violation(field, f"`{field}` {ToolChoiceMode.Name(mode)} needs `tools`; got none", COMBINATION)
