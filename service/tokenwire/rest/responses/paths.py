"""Paths of the contract, and of a chat completion's body → paths of the body of a response."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tokenwire.errors import Violation
from tokenwire.rest.json_names import in_json_terms

_NAMES = {
    "logprobs": "include",
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "tool_choice.function": "tool_choice",
    "tool_choice.function_name": "tool_choice.name",
}
_TOOL = re.compile(r"^(tools\[\d+\])\.function")
_BOUNDARY = re.compile(r"[.\[]")


class BodyPaths:
    """What of the contract stands where in the body of one request."""

    def __init__(self) -> None:
        self._names = dict(_NAMES)

    def add(self, path: str, body_path: str) -> None:
        """What is at `path` in the contract, or inside of it, is at `body_path` in the body, or inside of that."""
        self._names[path] = body_path

    def rename(self, path: str) -> str:
        """The path of the body; as it was where both have the same."""
        path = _TOOL.sub(r"\1", path)
        for prefix in _prefixes(path):
            if prefix in self._names:
                return self._names[prefix] + path[len(prefix) :]
        return path

    def in_body_terms(self, violation: Violation, json_names: Mapping[str, str]) -> Violation:
        """The same violation under its path in the body; `json_names` are those of chat completions' other forms."""
        description = violation.description.replace("`max_completion_tokens`", "`max_output_tokens`")
        violation = replace(violation, description=description)  # others are compared with it
        path = self.rename(violation.field)
        if path == violation.field:
            return in_json_terms(violation, json_names)
        return replace(violation, field=path, description=description.replace(f"`{violation.field}`", f"`{path}`"))


def _prefixes(path: str) -> Iterator[str]:
    """The path and those of all that it is inside of, the longest first."""
    yield path
    for boundary in reversed(list(_BOUNDARY.finditer(path))):
        yield path[: boundary.start()]
