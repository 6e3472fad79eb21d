"""Options of the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is served, and how."""

    model: str
    """Folder, GGUF file, or Hugging Face hub id of a decoder-only model."""

    served_model_name: str | None = None
    """Name that requests give; default: the hub id, or the folder's or file's name."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N`; `auto` takes a GPU where there is one."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the weights; `auto` is float32 on a CPU and the checkpoint's own on a GPU."""

    weights: Literal["auto", "fp32", "fp16", "int8", "int4"] = "auto"
    """How a CPU stores the weights. `fp32` is exact. `int8` and `int4` have a scale for every 32 weights and round the
    inputs of products to 16 bits. `auto` takes the 4 bits of a checkpoint that had no more, and else 8."""

    chat_template: Path | None = None
    """File with a Jinja chat template to use instead of the model's own."""

    tool_syntax: Literal["auto", "hermes", "llama3", "mistral", "mistral-spaced", "mistral-args"] = "auto"
    """How the model writes tool calls; `auto` tells by its chat template."""

    generation_config: Annotated[bool, Parameter(negative="")] = False
    """Take the defaults of temperature, top_p, top_k, min_p and repetition_penalty from the checkpoint's
    `generation_config.json`; default: the API's, such as temperature 1."""

    cache_dir: Path | None = None
    """Folder for converted checkpoints; default: `tokenwire` in the user's cache folder."""

    @property
    def name(self) -> str:
        """The name that requests give."""
        if self.served_model_name is not None:
            return self.served_model_name
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path.resolve().name
        return path.stem if path.is_file() else self.model
