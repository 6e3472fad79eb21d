"""Whether an answer is what a JSON schema asks for, as `jsonschema` and Python's parser have it."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend, validator_for


class SchemaJudge:
    r"""Judges answers to one schema. Formats are checked. Numbers are decimal, as they are in JSON: with floats 70.74
    would be no multiple of 0.01. In patterns `\d` and `\w` may be ASCII, as in ECMA-262."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        draft = validator_for(schema, default=Draft202012Validator)
        draft.check_schema(schema)
        with_patterns = extend(draft, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # its stubs have no types
        decimal = json.loads(json.dumps(schema), parse_float=Decimal)
        self._validator = with_patterns(decimal, format_checker=draft.FORMAT_CHECKER)

    def problem(self, answer: str) -> str | None:
        """Why the answer is not valid; None if it is."""
        try:
            value = json.loads(answer, parse_float=_number)
        except ValueError as error:
            return f"no JSON: {error}"
        for problem in self._validator.iter_errors(value):
            return f"{problem.validator}: {problem.message}"
        return None if _in_order(value, self._schema) else "keys are not in the order of the schema"


def _number(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that no decimal has
        return float(text)


def _pattern(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not any(re.search(pattern, instance, flags) for flags in (re.UNICODE, re.ASCII)):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _in_order(value: Any, schema: Any) -> bool:
    """Whether objects have their keys in the order of `properties`, as far as no other schema has a say in it."""
    if not isinstance(schema, dict) or {"allOf", "anyOf", "oneOf", "$ref"} & schema.keys():
        return True
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        keys = [key for key in value if key in properties]
        return keys == [key for key in properties if key in value] and all(
            _in_order(value[key], properties[key]) for key in keys
        )
    items = schema.get("items")
    return not isinstance(value, list) or all(_in_order(item, items) for item in value)
