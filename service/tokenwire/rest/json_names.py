"""Paths of the contract → paths of the JSON body, where the OpenAI API has another form for the same."""

import re
from collections.abc import Mapping

from tokenwire.errors import Violation

# Anchored: what follows may have a caller's own text in it (`metadata[…]`).
_FORMS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(messages\[\d+\])\.content_parts(\.parts)?", r"\1.content"),
        (r"^tool_choice\.function_name", "tool_choice.function.name"),
        (r"^tool_choice\.(mode|choice)", "tool_choice"),
        (r"^response_format\.choice\.options", "response_format.choice"),
        (r"^execution_policy\.priority", "priority"),
        (r"^execution_policy\.(max_queue_time|time_budget|retain_for)", r"execution_policy.\1_s"),
    )
)


def in_json_terms(violation: Violation, json_names: Mapping[str, str]) -> Violation:
    """The same violation under its path in the body; `json_names` are the paths that one request has otherwise."""
    path = violation.field
    for form, replacement in _FORMS:
        path = form.sub(replacement, path)
    path = json_names.get(path, path)
    return Violation(path, violation.description.replace(f"`{violation.field}`", f"`{path}`"), violation.code)
