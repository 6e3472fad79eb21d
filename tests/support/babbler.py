"""A model that says anything: random logits over a tiny tokenizer, and the real sampler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from support.tiny import END_OF_TEXT, IM_END, SPECIAL_TOKENS
from tokenwire.chat.tokenizer import ChatTokenizer, load_hf_tokenizer
from tokenwire.engine.protocol import FinishReason, SamplingParams, Vocabulary
from tokenwire.engine.sampling.sampler import Sampler


@dataclass(frozen=True)
class Answer:
    """What came of one generation."""

    token_ids: tuple[int, ...]
    text: bytes
    """Of the tokens but the special ones."""
    finish_reason: FinishReason


class Babbler:
    """Generates with a tokenizer's vocabulary, logits at random."""

    def __init__(self, folder: Path, make_tokenizer: Callable[[Path], Tokenizer]) -> None:
        backend = make_tokenizer(folder)
        size = backend.get_vocab_size()
        tokenizer = ChatTokenizer(load_hf_tokenizer(folder), vocabulary_size=size, chat_template="")
        self.vocabulary = Vocabulary(
            token_bytes=tuple(map(tokenizer.token_bytes, range(size))),
            special_token_ids=frozenset(filter(tokenizer.is_special, range(size))),
            eos_token_ids=tuple(_id(backend, token) for token in (IM_END, END_OF_TEXT)),
        )
        self.special = {token: _id(backend, token) for token in SPECIAL_TOKENS}
        self._sampler = Sampler(
            vocabulary_size=size,
            max_slots=8,
            eos_token_ids=self.vocabulary.eos_token_ids,
            device=torch.device("cpu"),
        )
        self._compiler = self._sampler.set_vocabulary(self.vocabulary)

    def id_of(self, text: str) -> int:
        """A token that spells this."""
        return self.vocabulary.token_bytes.index(text.encode())

    def text(self, token_ids: Sequence[int]) -> bytes:
        """What tokens add to the text."""
        kept = (token_id for token_id in token_ids if token_id not in self.vocabulary.special_token_ids)
        return b"".join(self.vocabulary.token_bytes[token_id] for token_id in kept)

    def generate(self, params: SamplingParams, *, preempt_after: int | None = None) -> Answer:
        """One answer. With `preempt_after` the sampler forgets the sequence after so many tokens, and gets it back."""
        grammar = None if params.grammar is None else self._compiler.compile(params.grammar)
        generated: list[int] = []
        stop_ids = {*params.stop_token_ids}
        if params.grammar is not None or not params.ignore_eos:
            stop_ids |= set(self.vocabulary.eos_token_ids)
        logits = torch.Generator().manual_seed(params.seed)
        self._sampler.assign(0, params, [], grammar=grammar)
        while True:
            if len(generated) == preempt_after:
                self._sampler.assign(1, params, [], generated, grammar=grammar)
            slot = 0 if preempt_after is None or len(generated) < preempt_after else 1
            row = torch.randn((1, len(self.vocabulary.token_bytes)), generator=logits)
            (sample,) = self._sampler.sample(row, [slot])
            if sample.token_id is not None:
                generated.append(sample.token_id)
            reason = sample.finish_reason
            if reason is None and sample.token_id in stop_ids:
                reason = FinishReason.STOP
            elif reason is None and len(generated) == params.max_tokens:
                reason = FinishReason.LENGTH
            if reason is not None:
                return Answer(tuple(generated), self.text(generated), reason)


def _id(tokenizer: Tokenizer, token: str) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    assert token_id is not None
    return token_id
