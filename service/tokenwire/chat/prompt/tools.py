"""How tools reach a model whose chat template knows none: as text in ordinary messages, in the form of Hermes.

Source of the words: the chat template of Qwen2.5, whose models many others are trained after. `docs/tools.md` shows it.
"""

import json
from typing import Any

from tokenwire.chat.prompt.conversation import Conversation

_INTRODUCTION = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{definitions}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def as_plain_messages(conversation: Conversation, tools: Conversation, *, knows_system: bool) -> Conversation:
    """The conversation in messages of system, user and assistant alone, with the tools told at its beginning.

    `knows_system`: whether the template takes a system message; the first user message tells the tools elsewhere.
    """
    plain = _plain_history(conversation)
    if not tools:
        return plain
    definitions = "\n".join(_json(tool) for tool in tools)
    return _introduced(plain, _INTRODUCTION.format(definitions=definitions), knows_system=knows_system)


def _introduced(conversation: Conversation, introduction: str, *, knows_system: bool) -> Conversation:
    first, *others = conversation
    if first["role"] in ("system", "developer"):
        return [{**first, "content": _joined(first["content"], introduction)}, *others]
    if not knows_system and first["role"] == "user":
        return [{**first, "content": _joined(introduction, first["content"])}, *others]
    return [{"role": "system" if knows_system else "user", "content": introduction}, *conversation]


def _joined(first: str, second: str) -> str:
    return f"{first}\n\n{second}" if first and second else first + second


def _plain_history(conversation: Conversation) -> Conversation:
    plain: Conversation = []
    previous_role = None
    for item in conversation:
        if item["role"] == "tool":
            response = f"<tool_response>\n{item['content']}\n</tool_response>"
            if previous_role == "tool":
                plain[-1]["content"] += f"\n{response}"
            else:
                plain.append({"role": "user", "content": response})
        elif calls := item.get("tool_calls"):
            said = [item["content"]] if item["content"] else []
            others = {key: value for key, value in item.items() if key != "tool_calls"}
            plain.append({**others, "content": "\n".join([*said, *map(_call, calls)])})
        else:
            plain.append(item)
        previous_role = item["role"]
    return plain


def _call(call: dict[str, Any]) -> str:
    function = call["function"]
    return f"<tool_call>\n{_json({'name': function['name'], 'arguments': function['arguments']})}\n</tool_call>"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
