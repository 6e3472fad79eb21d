"""Which architectures the engine can run. What it cannot is refused by name, with what to use instead."""

from collections.abc import Iterable
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from tokenwire.engine.protocol import EngineStartError

_KNOWN_LAYER_TYPES = {"full_attention", "sliding_attention"}


def check_architecture(config: PreTrainedConfig) -> None:
    """Raise `EngineStartError` if the model is not a decoder whose whole state is keys and values of attention."""
    name = architecture_name(config)
    if config.is_encoder_decoder:
        raise _unsupported(name, "is an encoder-decoder; only decoder-only models are served")
    if hasattr(config, "vision_config") or hasattr(config, "audio_config"):
        raise _unsupported(name, "takes images or audio; its text-only variant is served")
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if model_class is None:
        raise _unsupported(name, "is not a causal language model of transformers")
    if getattr(model_class, "_is_stateful", False):
        raise _unsupported(name, "keeps a recurrent state, which the paged key-value cache cannot hold")
    if getattr(config, "kv_lora_rank", None) is not None:
        raise _unsupported(name, "uses multi-head latent attention")
    if unknown := set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYER_TYPES:
        raise _unsupported(name, f"has layers of type {', '.join(sorted(unknown))}")
    if not getattr(model_class, "_supports_attention_backend", False):
        raise _unsupported(name, "does not take its attention from transformers' AttentionInterface")


def load_config(folder: Any) -> PreTrainedConfig:
    """The model config of a checkpoint folder. Raises `EngineStartError` where transformers does not know the type."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError, OSError) as error:
        raise EngineStartError(f"transformers cannot read the config of {folder}: {error}") from None
    check_architecture(config)
    return config


def architecture_name(config: PreTrainedConfig) -> str:
    """Class name of the checkpoint's model, such as `LlamaForCausalLM`; else its model type."""
    name: str = (config.architectures or [config.model_type])[0]
    return name


def context_limit(config: PreTrainedConfig) -> int:
    """Most positions that the model can take with rotary frequencies that do not depend on other requests."""
    limit: int = config.max_position_embeddings
    rope = getattr(config, "rope_parameters", None) or {}
    # LongRoPE switches its frequencies for the whole batch when one sequence passes the original length:
    # a request would then change with its neighbours.
    if rope.get("rope_type") == "longrope":
        original = rope.get("original_max_position_embeddings") or config.original_max_position_embeddings
        limit = min(limit, original)
    return limit


def _unsupported(name: str, why: str) -> EngineStartError:
    return EngineStartError(
        f"{name} {why}. Tokenwire serves decoder-only attention models "
        "(the Llama, Qwen2/3, Mistral, Gemma, Phi, GPT-2 and OPT families); vLLM serves many others."
    )


def check_windows(config: PreTrainedConfig, windows: Iterable[int | None]) -> None:
    """Raise `EngineStartError` if the model has sliding windows, but its attention is not called with them.

    `windows` is what the attention of each layer was called with. Such a model applies them in masks alone, which the
    paged attention does not take; the probe text is too short to show it.
    """
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()) and not any(windows):
        raise _unsupported(architecture_name(config), "applies its sliding window in masks alone")


def mismatch(config: PreTrainedConfig, difference: float, tolerance: float) -> EngineStartError:
    """The error for a model whose logits over the paged cache are not those of its own forward pass."""
    return _unsupported(
        architecture_name(config),
        f"gives other logits over the paged cache than by itself (off by {difference:.2g}; allowed {tolerance:.2g})",
    )
