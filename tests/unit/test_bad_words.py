"""Bad words: never in the text, whatever tokens spell them, and no other token is banned for them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.babbler import Babbler
from support.tiny import make_tokenizer
from tokenwire.engine.protocol import FinishReason, SamplingParams, Vocabulary
from tokenwire.engine.sampling.bad_words import BadWords, TokenIndex
from tokenwire.engine.sampling.sampler import Sampler

HOT = SamplingParams(seed=0, max_tokens=400, temperature=2.0)
SPECIAL = 0
WORDS = st.lists(st.text("ab", min_size=1, max_size=6).map(str.encode), min_size=1, max_size=4).map(tuple)
TOKENS = st.lists(
    st.text("abc", max_size=5).map(str.encode) | st.binary(min_size=1, max_size=3), min_size=1, max_size=40
).map(lambda texts: (b"<ab>", *texts))


@pytest.fixture(scope="module")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> Babbler:
    return Babbler(tmp_path_factory.mktemp("babbler"), make_tokenizer)


def allowed(bad_words: BadWords, num_tokens: int) -> set[int]:
    """The tokens that bad words leave."""
    mask = torch.full((2,), -1, dtype=torch.int32)
    bad_words.ban(mask)
    words = mask.tolist()
    return {token_id for token_id in range(num_tokens) if words[token_id // 32] >> token_id % 32 & 1}


def expected(words: Sequence[bytes], text: bytes, token_bytes: Sequence[bytes]) -> set[int]:
    """By the definition: what no bad word would come of."""
    return {
        token_id
        for token_id, added in enumerate(token_bytes)
        if token_id == SPECIAL or not any(word in text + added for word in words)
    }


@settings(max_examples=300, deadline=None)
@given(TOKENS, WORDS, st.data())
def test_exactly_the_tokens_that_would_complete_a_bad_word_are_banned(
    token_bytes: tuple[bytes, ...], words: tuple[bytes, ...], data: st.DataObject
) -> None:
    vocabulary = Vocabulary(token_bytes, special_token_ids=frozenset({SPECIAL}), eos_token_ids=())
    word_set = TokenIndex(vocabulary, words=2).compile(words)
    bad_words = BadWords(word_set)
    text, token_ids = b"", []
    for _ in range(6):
        left = expected(words, text, token_bytes)
        assert allowed(bad_words, len(token_bytes)) == left
        token_id = data.draw(st.sampled_from(sorted(left)))
        bad_words.take(token_id)
        token_ids.append(token_id)
        text += b"" if token_id == SPECIAL else token_bytes[token_id]
        assert allowed(BadWords(word_set, token_ids), len(token_bytes)) == expected(words, text, token_bytes)


def test_bad_words_are_never_said(babbler: Babbler) -> None:
    words = (b"e", b" a", b"the", "ü".encode(), "好".encode(), b"\n")
    for seed in range(5):
        answer = babbler.generate(replace(HOT, seed=seed, bad_words=words, ignore_eos=True))
        assert answer.finish_reason is FinishReason.LENGTH
        assert [word for word in words if word in answer.text] == []


def test_a_bad_word_that_is_wanted_in_pieces_is_not_said(babbler: Babbler) -> None:
    wanted = tuple((babbler.id_of(char), 100.0) for char in "xy")
    answer = babbler.generate(replace(HOT, bad_words=(b"xyx", b"xxx"), logit_bias=wanted))
    assert answer.finish_reason is FinishReason.LENGTH
    assert set(answer.text) == set(b"xy")
    assert b"xyx" not in answer.text
    assert b"xxx" not in answer.text


def test_the_other_tokens_keep_their_probabilities() -> None:
    token_bytes = (b"<end>", b"a", b"b", b"ab", b"c")
    sampler = Sampler(vocabulary_size=5, max_slots=1, eos_token_ids=(), device=torch.device("cpu"))
    sampler.set_vocabulary(Vocabulary(token_bytes, frozenset({0}), ()))
    logits = torch.tensor([[0.3, 1.0, 0.5, 2.0, -0.4]])
    counts = torch.zeros(5)
    for seed in range(1500):
        sampler.assign(0, SamplingParams(seed=seed, max_tokens=9, bad_words=(b"ab",)), [], [1])
        (sample,) = sampler.sample(logits, [0])
        assert sample.token_id is not None
        counts[sample.token_id] += 1
    left = torch.tensor([True, True, False, False, True])  # behind "a" no "b", and never "ab"
    exact = torch.softmax(logits[0].double().masked_fill(~left, -torch.inf), 0)
    assert counts[~left].sum() == 0
    chi_squared = ((counts - 1500 * exact)[left] ** 2 / (1500 * exact)[left]).sum()
    assert chi_squared < 13.8  # 2 degrees of freedom: one in a thousand seeds goes beyond


def test_words_that_leave_nothing_to_say_fail_that_answer(babbler: Babbler) -> None:
    everything = tuple({bytes([byte]) for text in babbler.vocabulary.token_bytes for byte in text if byte < 128})
    banned = tuple((token_id, -100.0) for token_id in babbler.vocabulary.special_token_ids)
    multibyte = tuple(
        (i, -100.0)
        for i, text in enumerate(babbler.vocabulary.token_bytes)
        if text and not any(byte < 128 for byte in text)
    )
    answer = babbler.generate(replace(HOT, bad_words=everything, logit_bias=banned + multibyte))
    assert (answer.finish_reason, answer.token_ids) == (FinishReason.CONSTRAINT_FAILED, ())


def test_a_preempted_sequence_remembers_what_it_has_said(babbler: Babbler) -> None:
    params = replace(HOT, bad_words=(b"aa", b"e", b" t"), max_tokens=60)
    whole = babbler.generate(params)
    assert all(babbler.generate(params, preempt_after=count) == whole for count in range(0, 60, 7))


def test_an_index_finds_words_across_no_two_tokens() -> None:
    index = TokenIndex(Vocabulary((b"ab", b"ba", b"", b"a\xff", b"\xffa"), frozenset(), ()), words=1)
    assert sorted(index.containing(b"ab")) == [0]
    assert sorted(index.containing(b"a")) == [0, 1, 3, 4]
    assert sorted(index.beginning_with(b"a")) == [0, 3]
