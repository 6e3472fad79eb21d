"""Grammars for llguidance (https://github.com/guidance-ai/llguidance), put together from rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenwire.chat.constraint.schema_exact import exact


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


_JSON_OPTIONS = {
    # At most one space, or a line break and an indentation, wherever JSON may have whitespace: never endless.
    "whitespace_pattern": r" |\n {0,32}",
    # Not `\u0061`: a key in another spelling would pass for another key.
    "json_allowed_escapes": 'nrbtf\\"',
    "lenient": False,
    "coerce_one_of": False,
}


def json_rule(schema: Mapping[str, object]) -> str:
    """A Lark expression for JSON that matches a schema. What the schema says of `x-guidance`, the options of
    llguidance, does not count."""
    return f"%json {json.dumps({**exact(schema), 'x-guidance': _JSON_OPTIONS}, ensure_ascii=False)}"
