"""JSON schemas rewritten so that llguidance enforces them exactly: the same values, said in a way that it gets right.

Of dates it takes February 29 in any year, the year 0, and a second 60 at any time of day. RFC 3339, sections 5.6 and
5.7 (https://www.rfc-editor.org/rfc/rfc3339), has none of these; of the leap seconds that it has none is let through.
It also takes host names of more than the 253 characters of RFC 1123. For patterns see `exact_pattern`.
"""

import copy
from typing import Any, Final

from tokenwire.chat.constraint.schema_patterns import exact_pattern
from tokenwire.chat.constraint.schema_walk import JsonSchema, subschemas

_YEAR: Final = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_EVERY_FOURTH: Final = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR: Final = f"(?:[0-9]{{2}}{_EVERY_FOURTH}|{_EVERY_FOURTH}00)"
_TO_28: Final = "(?:0[1-9]|1[0-9]|2[0-8])"
_DAY: Final = f"(?:(?:0[1-9]|1[0-2])-{_TO_28}|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_DATE: Final = f"(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_HOUR_MINUTE: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
# Fractions have no limit in the RFC. Nine digits are enough for any clock, and a model does not go on for ever.
_TIME: Final = rf"{_HOUR_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:[zZ]|[+-]{_HOUR_MINUTE})"
_PATTERNS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}[tT]{_TIME}$",
    "hostname": "^.{1,253}$",
}


def exact(schema: Any) -> Any:
    """A copy of a schema (a JSON value) whose patterns, dates, times and host names are enforced exactly."""
    schema = copy.deepcopy(schema)
    for part in list(subschemas(schema)):
        _rewrite(part.schema)
    return schema


def _rewrite(schema: JsonSchema) -> None:
    if isinstance(pattern := schema.get("pattern"), str):
        schema["pattern"] = exact_pattern(pattern)
    if isinstance(patterns := schema.get("patternProperties"), dict):
        schema["patternProperties"] = {exact_pattern(pattern): values for pattern, values in patterns.items()}
    if (of_format := _PATTERNS.get(str(schema.get("format")))) is not None:
        if "pattern" in schema:  # both are enforced
            schema["allOf"] = [*schema.get("allOf", []), {"pattern": of_format}]
        else:
            schema["pattern"] = of_format
