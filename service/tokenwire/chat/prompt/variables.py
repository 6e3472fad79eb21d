"""The variables of a chat template: which it reads, and which a caller may set."""

from collections.abc import Iterator

from jinja2 import Environment, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser

from tokenwire.chat.validation.json_text import parse_json_object
from tokenwire.errors import Violation

MAX_KWARGS_BYTES = 16 * 1024
MAX_KWARGS_DEPTH = 16

_CONVERSATION = {"messages", "tools", "documents", "add_generation_prompt"}
_RENDERING = {
    "conversation",
    "conversations",
    "chat_template",
    "continue_final_message",
    "tokenize",
    "sanitize_control_tokens",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
}
_SPECIAL_TOKENS = {f"{kind}_token" for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}
_FUNCTIONS = {"raise_exception", "strftime_now"}

RESERVED_VARIABLES = frozenset(
    {*_CONVERSATION, *_RENDERING, *_SPECIAL_TOKENS, "additional_special_tokens", *_FUNCTIONS}
)
"""What the conversation, `apply_chat_template` and the tokenizer set: not for callers."""


class _GenerationTag(Extension):
    """`{% generation %}`, by which templates mark the assistant's text for training: what is inside counts."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def variables_of(source: str) -> frozenset[str]:
    """The variables that a template reads, those that it sets itself in some case only among them.

    Raises `jinja2.TemplateSyntaxError`.
    """
    environment = Environment(extensions=[LoopControlExtension, _GenerationTag])
    return frozenset(find_undeclared_variables(environment.parse(source)))


def check_template_kwargs(text: str) -> Iterator[Violation]:
    """Every violation in `chat_template_kwargs` that does not depend on the template."""
    field = "chat_template_kwargs"
    if not text:
        return
    variables = parse_json_object(field, text, max_bytes=MAX_KWARGS_BYTES, max_depth=MAX_KWARGS_DEPTH)
    if isinstance(variables, Violation):
        yield variables
    else:
        for name in sorted(variables.keys() & RESERVED_VARIABLES):
            yield Violation(field, f"`{field}` must not set `{name}`: the conversation or the server does")
