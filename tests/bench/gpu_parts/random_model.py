"""A Llama with random weights, made on the device, and the passes on it."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from bench.gpu_parts.scale import DEVICE, Scale
from tokenwire.engine.model.gpu.decoder import GpuDecoder
from tokenwire.engine.model.loading import record_attention
from tokenwire.engine.model.model import PagedModel


def make_random_model(scale: Scale) -> PreTrainedModel:
    """By transformers, with its own initial weights."""
    torch.manual_seed(0)
    with DEVICE:
        return AutoModelForCausalLM.from_config(LlamaConfig(**scale.config), dtype=scale.dtype).eval()


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes that a step of one row reads: all weights, but of the embedding one row."""
    embedding = model.get_input_embeddings().weight
    return sum(weight.nbytes for weight in model.parameters() if weight is not embedding)


@torch.inference_mode()
def on_our_pass(model: PreTrainedModel) -> PagedModel:
    """The model on our pass, which takes its weights."""
    config, dtype = model.config, model.dtype
    attention = record_attention(model, torch.tensor([1, 2], device=DEVICE))
    decoder = GpuDecoder(model, attention, dtype=dtype, device=DEVICE, rows=None)
    shapes = [layer.shape for layer in attention]
    return PagedModel(decoder, shapes, vocabulary_size=config.vocab_size, device=DEVICE, rows=None)
