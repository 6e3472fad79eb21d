"""The form of an answer that a request asks for: its rules, and the grammar that constrains the answer to it."""

import json
from collections.abc import Iterator

from llguidance import LLMatcher

from tokenwire.chat.constraint.argument_schemas import JsonSchema, not_enforceable
from tokenwire.chat.constraint.rule import Rule, json_rule
from tokenwire.chat.constraint.schema_gaps import gaps
from tokenwire.chat.validation.json_text import parse_json_object
from tokenwire.chat.validation.limits import MAX_CHOICE_OPTIONS, MAX_REGEX_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from tokenwire.chat.validation.rules import check_count, check_name, missing
from tokenwire.errors import ConstraintInvalidError, Violation
from tokenwire.v1.chat_pb2 import ChoiceFormat, JsonSchemaFormat, ResponseFormat

_FIELDS = {
    "json_schema": "response_format.json_schema.schema",
    "regex": "response_format.regex",
    "lark": "response_format.lark",
    "choice": "response_format.choice.options",
}


def check_response_format(response_format: ResponseFormat) -> Iterator[Violation]:
    """What is wrong with the format as such. Whether a grammar can be enforced is not looked at here."""
    match response_format.WhichOneof("format"):
        case None:
            yield missing("response_format.format")
        case "json_schema":
            yield from _check_schema(response_format.json_schema)
        case "regex":
            yield from _check_text(_FIELDS["regex"], response_format.regex, MAX_REGEX_BYTES)
        case "lark":
            yield from _check_text(_FIELDS["lark"], response_format.lark, MAX_SCHEMA_BYTES)
        case "choice":
            yield from _check_options(response_format.choice)


def format_field(response_format: ResponseFormat) -> str:
    """The field to blame where the grammar of a format cannot be enforced."""
    return _FIELDS.get(response_format.WhichOneof("format") or "", "response_format")


def format_rule(response_format: ResponseFormat) -> Rule | None:
    """What a valid format makes the answer look like; None for any text.

    Raises `ConstraintInvalidError` with what of a schema cannot be enforced.
    """
    match response_format.WhichOneof("format"):
        case "json_object":
            return Rule(f"answer: {json_rule({'type': 'object'})}")
        case "json_schema":
            return _schema_rule(json.loads(response_format.json_schema.schema))
        case "regex":
            lark = json.loads(LLMatcher.grammar_from_regex(response_format.regex))["grammars"][0]["lark_grammar"]
            return Rule("answer: @regex", {"regex": lark})
        case "lark":
            return Rule("answer: @lark", {"lark": response_format.lark})
        case "choice":
            options = (json.dumps(option, ensure_ascii=False) for option in response_format.choice.options)
            return Rule(f"answer: {' | '.join(options)}")
    return None


def _schema_rule(schema: JsonSchema) -> Rule:
    if found := gaps(schema):
        raise ConstraintInvalidError([not_enforceable(_FIELDS["json_schema"], str(gap)) for gap in found])
    return Rule(f"answer: {json_rule(schema)}")


def _check_schema(json_schema: JsonSchemaFormat) -> Iterator[Violation]:
    field = _FIELDS["json_schema"]
    if json_schema.name:
        yield from check_name("response_format.json_schema.name", json_schema.name)
    if not json_schema.schema:
        yield missing(field)
        return
    schema = parse_json_object(field, json_schema.schema, max_bytes=MAX_SCHEMA_BYTES, max_depth=MAX_SCHEMA_DEPTH)
    if isinstance(schema, Violation):
        yield schema


def _check_text(field: str, text: str, max_bytes: int) -> Iterator[Violation]:
    if not text:
        yield Violation(field, f"`{field}` must not be empty; got ''")
    elif (size := len(text.encode())) > max_bytes:
        description = f"`{field}` must have at most {max_bytes} bytes; got {size}"
        yield Violation(field, description, "string_above_max_length")


def _check_options(choice: ChoiceFormat) -> Iterator[Violation]:
    field, options = _FIELDS["choice"], choice.options
    if not options:
        yield Violation(field, f"`{field}` must have at least 1 text; got 0", "empty_array")
    yield from check_count(field, len(options), MAX_CHOICE_OPTIONS, "texts")
    if (size := sum(len(option.encode()) for option in options)) > MAX_SCHEMA_BYTES:
        description = f"`{field}` must have at most {MAX_SCHEMA_BYTES} bytes together; got {size}"
        yield Violation(field, description, "string_above_max_length")
    if len(set(options)) < len(options):
        yield Violation(field, f"`{field}` must have different texts; got one of them twice")
    for index, option in enumerate(options[:MAX_CHOICE_OPTIONS]):
        if not option:
            yield Violation(f"{field}[{index}]", f"`{field}[{index}]` must not be empty; got ''")
