"""Tiny tokenizers and models, made on the spot, in the Hugging Face form that the server loads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenwire.engine.protocol import EngineInfo, Vocabulary

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "The quick brown fox jumps over the lazy dog while the dog dreams of the fox.",
    "A language model reads tokens and writes tokens; the tokenizer turns text into tokens and back.",
    "Hello, how are you today? I am fine, thank you. What is the capital of France? It is Paris.",
    "system user assistant developer: you are a helpful assistant. Answer the question in one sentence.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(i, add(i, 1))\n",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 100 1000 2024 3.14 naïve café über Straße 你好 世界 🙂🎉",
)

_SMALL: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_GROUPED: Mapping[str, Any] = {**_SMALL, "num_key_value_heads": 2}

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 8},
    "mistral": {**_GROUPED, "head_dim": 8, "sliding_window": None},
    "gemma": {**_GROUPED, "head_dim": 8},
    "gemma2": {**_GROUPED, "head_dim": 8, "sliding_window": 32, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_GROUPED, "head_dim": 8, "sliding_window": 32, "query_pre_attn_scalar": 8},
    "phi": _SMALL,
    "phi3": {**_GROUPED, "sliding_window": None},
    "gpt2": {"n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
    },
}
"""Configuration of the tiny model of each family, by its `model_type`."""


def make_tokenizer(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE) -> Tokenizer:
    """Train a byte-level BPE tokenizer of about 500 tokens, write its Hugging Face files to `folder`, return it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer=trainer)
    save_tokenizer(tokenizer, folder, chat_template=chat_template)
    return tokenizer


def make_sentencepiece_tokenizer(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE) -> Tokenizer:
    """The same in the style of SentencePiece as Llama 2 has it: `▁` for a space, `<0x0A>` for other bytes."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=240, show_progress=False)
    trained.train_from_iterator(CORPUS[:5] * 3, trainer=trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {piece: token_id for token_id, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge) for merge in model["merges"]], byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    save_tokenizer(tokenizer, folder, chat_template=chat_template)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """Write the Hugging Face files of a tokenizer that knows the ChatML control tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": IM_START,
        "eos_token": IM_END,
        "pad_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def make_model(folder: Path, family: str = "llama", **overrides: Any) -> Path:
    """Write a tiny random model of a family (a key of `FAMILIES`), with its tokenizer, to `folder`, and return that.

    `overrides` are fields of its Hugging Face configuration. Equal arguments give equal weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer(folder)
    end, start = tokenizer.token_to_id(IM_END), tokenizer.token_to_id(IM_START)
    fields = {
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": tokenizer.token_to_id(END_OF_TEXT),
        "tie_word_embeddings": False,
        **FAMILIES[family],
        **overrides,
    }
    config = AutoConfig.for_model(family, **fields)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():  # so that logits differ clearly and no norm or bias is trivial
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return folder


def vocabulary_of(folder: Path, info: EngineInfo) -> Vocabulary:
    """What an engine of the tiny model is told of its tokens."""
    from tokenwire.chat.tokenizer import ChatTokenizer, load_hf_tokenizer

    tokenizer = ChatTokenizer(
        load_hf_tokenizer(folder), vocabulary_size=info.vocabulary_size, chat_template=CHAT_TEMPLATE
    )
    ids = range(info.vocabulary_size)
    return Vocabulary(
        tuple(map(tokenizer.token_bytes, ids)), frozenset(filter(tokenizer.is_special, ids)), info.eos_token_ids
    )
