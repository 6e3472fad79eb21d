"""Grammars for llguidance (https://github.com/guidance-ai/llguidance), put together from rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer must look like: definitions in llguidance's Lark, in which `answer` stands for the whole."""

    lark: str
    subgrammars: Mapping[str, str] = field(default_factory=dict)
    """Name → whole Lark grammar; `lark` refers to it as `@name`."""

    def grammar(self, *, before: str = "", definitions: str = "") -> str:
        """The grammar of an answer with something before it, such as reasoning.

        `before` is a Lark expression; `definitions` are those of the names in it.
        """
        start = f"start: {before} answer\n{definitions}\n{self.lark}"
        if not self.subgrammars:
            return start
        grammars = [{"name": "", "lark_grammar": start}]
        grammars += [{"name": name, "lark_grammar": lark} for name, lark in self.subgrammars.items()]
        return json.dumps({"grammars": grammars})


JSON_STYLE = {"whitespace_pattern": r" |\n {0,32}", "lenient": False, "coerce_one_of": False}
"""Where JSON may have whitespace it has at most one space, or a line break and an indentation: never endless."""


def json_rule(schema: object) -> str:
    """A Lark expression for JSON that matches a schema (a JSON value). What the schema says of `x-guidance`, the
    options of llguidance, does not count."""
    if isinstance(schema, dict):
        schema = {**schema, "x-guidance": JSON_STYLE}
    return f"%json {json.dumps(schema, ensure_ascii=False)}"
