"""Detokenising: the pieces of any token stream, joined, are the text of decoding it whole."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.tiny import make_sentencepiece_tokenizer, make_tokenizer
from tokenwire.chat.answer.detokenizer import Detokenizer
from tokenwire.chat.tokenizer import ChatTokenizer, UnsupportedTokenizerError, load_hf_tokenizer

SIZE = 520  # of the logits; larger than either vocabulary


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("byte_level")
    make_tokenizer(folder)
    return load(folder)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("sentencepiece")
    make_sentencepiece_tokenizer(folder)
    return load(folder)


@pytest.fixture(params=["byte_level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    tokenizer = request.getfixturevalue(request.param)
    assert isinstance(tokenizer, ChatTokenizer)
    return tokenizer


def load(folder: Path) -> ChatTokenizer:
    return ChatTokenizer(load_hf_tokenizer(folder), vocabulary_size=SIZE, chat_template="")


def stream(tokenizer: ChatTokenizer, token_ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*map(detokenizer.push, token_ids), detokenizer.flush()]


TOKEN_IDS = st.lists(st.integers(0, SIZE - 1), max_size=40)
ANY_TOKENIZER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ANY_TOKENIZER
@given(TOKEN_IDS)
def test_the_pieces_of_any_token_stream_are_the_whole_text(tokenizer: ChatTokenizer, token_ids: list[int]) -> None:
    assert "".join(stream(tokenizer, token_ids)) == tokenizer.decode(token_ids, skip_special_tokens=True)


@ANY_TOKENIZER
@given(TOKEN_IDS, st.booleans())
def test_byte_level_text_is_that_of_the_tokenizers_library(
    byte_level: ChatTokenizer, token_ids: list[int], skip: bool
) -> None:
    library = byte_level.hf.backend_tokenizer.decode(token_ids, skip_special_tokens=skip)
    assert byte_level.decode(token_ids, skip_special_tokens=skip) == library


@ANY_TOKENIZER
@given(TOKEN_IDS)
def test_sentencepiece_text_is_that_of_the_library_where_its_bytes_are_utf_8(
    sentencepiece: ChatTokenizer, token_ids: list[int]
) -> None:
    text = sentencepiece.decode(token_ids, skip_special_tokens=True)
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert text == sentencepiece.hf.backend_tokenizer.decode(token_ids, skip_special_tokens=True)


@ANY_TOKENIZER
@example("\U000f0000<|im_end|>\U000f0001\U000f0000")  # the marks around control tokens
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=40))
def test_text_survives_the_way_to_tokens_and_back(tokenizer: ChatTokenizer, text: str) -> None:
    token_ids = tokenizer.encode_text(text)
    assert "".join(stream(tokenizer, token_ids)) == text


def test_no_piece_has_a_part_of_a_code_point(byte_level: ChatTokenizer) -> None:
    token_ids = byte_level.encode_text("🦄")
    assert len(token_ids) > 1
    assert stream(byte_level, token_ids) == [*[""] * (len(token_ids) - 1), "🦄", ""]


def test_a_cut_code_point_becomes_a_replacement_character_at_the_end(tokenizer: ChatTokenizer) -> None:
    token_ids = tokenizer.encode_text("x🦄")[:-1]
    assert "".join(stream(tokenizer, token_ids)) == "x\N{REPLACEMENT CHARACTER}"


def test_valid_characters_of_an_invalid_byte_run_are_kept(sentencepiece: ChatTokenizer) -> None:
    token_ids = [3 + byte for byte in (*"é".encode(), 0xFF)]
    assert "".join(stream(sentencepiece, token_ids)) == "é\N{REPLACEMENT CHARACTER}"


def test_control_tokens_and_ids_without_a_token_have_no_text(tokenizer: ChatTokenizer) -> None:
    assert stream(tokenizer, [0, 1, 2, SIZE - 1]) == ["", "", "", "", ""]


def test_the_first_token_loses_its_space_and_the_second_does_not(sentencepiece: ChatTokenizer) -> None:
    [token_id] = sentencepiece.encode_text("fox")
    assert stream(sentencepiece, [1, token_id, token_id]) == ["", "fox", " fox", ""]


def test_a_decoder_that_we_do_not_know_is_refused_by_name(tmp_path: Path) -> None:
    from tokenizers import decoders

    hf_tokenizer = make_tokenizer(tmp_path)
    hf_tokenizer.decoder = decoders.WordPiece()
    hf_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedTokenizerError, match="WordPiece"):
        load(tmp_path)
