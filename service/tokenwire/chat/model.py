"""A served model as the front end knows it: name, tokenizer, template, fingerprint."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tokenwire import __version__
from tokenwire.chat.answer.reasoning import Reasoning, reasoning_of
from tokenwire.chat.defaults import API_DEFAULTS, DefaultsError, checkpoint_defaults
from tokenwire.chat.prompt.template import ChatTemplate, ChatTemplateError, template_source
from tokenwire.chat.tokenizer import ChatTokenizer, UnsupportedTokenizerError, load_hf_tokenizer
from tokenwire.chat.tool_syntax import SYNTAXES, ToolSyntax, syntax_of
from tokenwire.engine.protocol import EngineInfo, Vocabulary
from tokenwire.v1.chat_pb2 import EffectiveParameters


class ModelLoadError(Exception):
    """Tokenizer or chat template cannot be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model under the name that requests give."""

    id: str
    info: EngineInfo
    tokenizer: ChatTokenizer
    template: ChatTemplate
    tool_syntax: ToolSyntax
    """How it writes tool calls."""
    deterministic: bool
    """Whether its engine runs in the deterministic mode."""
    defaults: EffectiveParameters
    """Where a request sets nothing."""
    created: datetime
    """When this server loaded it, in UTC."""
    system_fingerprint: str
    """`fp_…`; names weights, precision, tokenizer, template and version."""

    @classmethod
    def load(
        cls,
        id: str,
        info: EngineInfo,
        *,
        chat_template: Path | None = None,
        tool_syntax: str = "auto",
        deterministic: bool = False,
        generation_config: bool = False,
    ) -> "ServedModel":
        """Read tokenizer and template from `info.model_path`; `chat_template` is a Jinja file to use instead.

        `tool_syntax` is a name in `SYNTAXES`; `auto` tells by the template. `generation_config` asks for
        the checkpoint's defaults.
        Takes some seconds: call it off the event loop. Raises `ModelLoadError` with a message for the operator.
        """
        try:
            hf = load_hf_tokenizer(info.model_path)
            source = template_source(hf, chat_template.expanduser().read_text("utf-8") if chat_template else None)
            tokenizer = ChatTokenizer(hf, vocabulary_size=info.vocabulary_size, chat_template=source)
            template = ChatTemplate(source, tokenizer)
            defaults = checkpoint_defaults(info.model_path) if generation_config else API_DEFAULTS
        except (ChatTemplateError, DefaultsError, UnsupportedTokenizerError, OSError) as error:
            raise ModelLoadError(str(error)) from error
        return cls(
            id=id,
            info=info,
            tokenizer=tokenizer,
            template=template,
            tool_syntax=syntax_of(source) if tool_syntax == "auto" else SYNTAXES[tool_syntax],
            deterministic=deterministic,
            defaults=defaults,
            created=datetime.now(UTC),
            system_fingerprint=_fingerprint(info, tokenizer, template, deterministic=deterministic),
        )

    @property
    def reasons(self) -> bool:
        """Whether the model may reason before it answers."""
        return reasoning_of("", self.template.source) is not Reasoning.NONE

    def vocabulary(self) -> Vocabulary:
        """What the engine needs to know of the tokens."""
        ids = range(self.info.vocabulary_size)
        return Vocabulary(
            token_bytes=tuple(map(self.tokenizer.token_bytes, ids)),
            special_token_ids=frozenset(filter(self.tokenizer.is_special, ids)),
            eos_token_ids=self.info.eos_token_ids,
        )


def _fingerprint(info: EngineInfo, tokenizer: ChatTokenizer, template: ChatTemplate, *, deterministic: bool) -> str:
    mode = "deterministic" if deterministic else "fast"
    parts = (info.weights_fingerprint, info.dtype, mode, tokenizer.sha256, template.sha256, __version__)
    return "fp_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
