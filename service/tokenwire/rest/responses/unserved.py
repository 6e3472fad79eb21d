"""The fields of a response's body that cannot be honoured, or are those of a chat completion."""

from collections.abc import Mapping

from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_reader import JsonReader

# What chat completions have and this API calls otherwise: it is too much like a mistake to be ignored.
_MOVED: Mapping[str, str] = {
    "logprobs": "include",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}

# Setting one of these to anything but a listed value asks for another answer than we would give.
_NEUTRAL_VALUES: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "max_tool_calls": (),
    "moderation": (),
    "n": (1,),
    "previous_response_id": (),
    "prompt": (),
    "prompt_logprobs": (),
    "store": (False,),
    "truncation": ("disabled",),
}

_REASONING = ("context", "effort", "generate_summary", "mode", "summary")


def refuse_unserved(reader: JsonReader, given: dict[str, object]) -> None:
    """Take these fields out of the members of the body. The others may be those of a chat completion."""
    for name, moved in _MOVED.items():
        if name in given:
            del given[name]
            reader.reject(name, "unsupported_parameter", f"is not in this API: it is `{moved}`")
    for name, neutral in _NEUTRAL_VALUES.items():
        if name in given:
            refuse_unless(reader, name, given.pop(name), neutral=neutral)
    if "prompt_cache_options" in given:  # how to use a cache changes no answer
        reader.mapping(given.pop("prompt_cache_options"), "prompt_cache_options")
    for name, value in (reader.members(given.pop("reasoning", {}), "reasoning") or {}).items():
        if name in _REASONING:
            refuse_unless(reader, f"reasoning.{name}", value, neutral=())
        else:
            reader.ignored.append(f"reasoning.{name}")
