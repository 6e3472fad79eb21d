"""Which tools a request really has, and how they are chosen, defaults included."""

from collections.abc import Sequence

from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Tool, ToolChoice, ToolChoiceMode


def resolved_choice(request: ChatCompletionRequest) -> ToolChoice:
    """The choice in force: without one, none for a request without tools and auto for others."""
    if request.HasField("tool_choice"):
        return request.tool_choice
    mode = ToolChoiceMode.TOOL_CHOICE_MODE_AUTO if request.tools else ToolChoiceMode.TOOL_CHOICE_MODE_NONE
    return ToolChoice(mode=mode)


def active_tools(request: ChatCompletionRequest) -> Sequence[Tool]:
    """The tools that the model sees and may call."""
    choice = resolved_choice(request)
    is_none = choice.WhichOneof("choice") == "mode" and choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_NONE
    return () if is_none else request.tools
