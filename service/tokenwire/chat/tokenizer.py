"""The model's tokenizer: text to token ids with control tokens under our control, and token ids to bytes."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

# Put around control tokens in a caller's text, so that they can be told from those that the template writes. A caller's
# own marks get marks around them, too: so they stay text and cannot forge anything.
MARK_START, MARK_END = "\U000f0000", "\U000f0001"
# As templates write them that ask `tojson` for ASCII, or that print a dict.
_START_FORMS, _END_FORMS = ((mark, json.dumps(mark)[1:-1], repr(mark)[1:-1]) for mark in (MARK_START, MARK_END))

ANCHORS = ("\n", "x", "0", ".")
"""Characters that begin a text in place of a piece from its middle; what merges with one does not with another."""


class UnsupportedTokenizerError(Exception):
    """The tokenizer works in a way that we do not know; the message is for the operator."""


class ChatTokenizer:
    """A Hugging Face tokenizer for chats over one vocabulary of `vocabulary_size` logits."""

    def __init__(self, hf: Any, *, vocabulary_size: int, chat_template: str) -> None:
        """`hf` is a `transformers` fast tokenizer. Raises `UnsupportedTokenizerError`."""
        self.hf = hf
        self._backend: Tokenizer = hf.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        added = self._backend.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)
        self._special_ids = {token.content: i for i, token in added.items() if token.special and i < vocabulary_size}
        self._special_pattern = re.compile(f"({_any_of(self._special_ids)})")
        # Other added tokens (runs of spaces, say) are ordinary text, but for those that structure the template and
        # those that the model has no embedding for.
        self._control = {
            token.content: token_id
            for token_id, token in added.items()
            if token.special
            or token_id >= vocabulary_size
            or (token.content.strip() and token.content in chat_template)
        }
        reserved = _any_of([*self._control, *_START_FORMS, *_END_FORMS])
        start, end = (f"(?:{_any_of(forms)})" for forms in (_START_FORMS, _END_FORMS))
        self._reserved_pattern = re.compile(reserved)
        self._marked_pattern = re.compile(f"{start}({reserved}){end}|{start}|{end}")
        self._prefix_ids, self._suffix_ids = self._surroundings()
        decoder = json.loads(self._backend.to_str())["decoder"]
        self._bytes, self.leading_spaces = _token_table(self._backend, vocabulary_size, decoder)
        self._text_bytes = [b"" if token_id in self._special else raw for token_id, raw in enumerate(self._bytes)]

    @property
    def sha256(self) -> str:
        """SHA-256 of the tokenizer's definition, hexadecimal."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def mark(self, text: str) -> str:
        """Put marks around the control tokens in a caller's text."""
        return self._reserved_pattern.sub(f"{MARK_START}\\g<0>{MARK_END}", text)

    def unmark(self, text: str) -> str:
        """Take the marks out again."""
        return self._marked_pattern.sub(lambda match: match[1] or "", text)

    def encode_marked(self, text: str) -> list[int]:
        """Tokens of a text where marked control tokens are plain text and all others control.

        Source of the method: `transformers`' `encode_marked_chat`. Without marks it is the plain tokenisation.
        """
        # [text, marked token or None, text, …]; None stands for a lone mark, which only keeps its two sides apart.
        pieces = self._marked_pattern.split(text)
        ids = self._encode(pieces[0], parse_control=True)
        for position, piece in enumerate(pieces[1:], start=1):
            if piece:
                ids += self._encode_inside(piece, parse_control=position % 2 == 0)
        return ids

    def encode_text(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Tokens of a text in which nothing is a control token, with or without those that go around every text."""
        ids = self.encode_marked(self.mark(text))
        return [*self._prefix_ids, *ids, *self._suffix_ids] if add_special_tokens else ids

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens of a whole prompt: what it spells of control tokens is control, and those around every text are added.

        As `transformers` tokenises a text.
        """
        return [*self._prefix_ids, *self._encode(text, parse_control=True), *self._suffix_ids]

    def special_pieces(self, text: str) -> list[str | int]:
        """A text of ours in pieces: ids of the special tokens that it spells, and the text between them."""
        pieces: list[str] = self._special_pattern.split(text) if self._special_ids else [text]
        return [self._special_ids.get(piece, piece) for piece in pieces if piece]

    def is_special(self, token_id: int) -> bool:
        """Whether the token is left out of generated text."""
        return token_id in self._special

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token of the vocabulary; none where the tokenizer knows no such token."""
        return self._bytes[token_id]

    def text_bytes(self, token_ids: Iterable[int]) -> bytes:
        """The bytes of tokens of the vocabulary without the special ones, joined."""
        return b"".join(map(self._text_bytes.__getitem__, token_ids))

    def decode(self, token_ids: Iterable[int], *, skip_special_tokens: bool) -> str:
        """The text of tokens; U+FFFD stands for bytes that are not UTF-8."""
        kept = (i for i in token_ids if not (skip_special_tokens and i in self._special))
        return strip_leading_spaces(b"".join(map(self.token_bytes, kept)), self.leading_spaces).decode(
            "utf-8", "replace"
        )

    def _encode(self, text: str, *, parse_control: bool) -> list[int]:
        if parse_control:
            # The batch call releases the GIL, the single one does not.
            return list(self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)
        backend: Any = self._backend
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = (
            [text] if backend.pre_tokenizer is None else [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        )
        return [token.id for word in words for token in backend.model.tokenize(word)]

    def _encode_inside(self, piece: str, *, parse_control: bool) -> list[int]:
        """Encode a piece from the middle of a text."""
        ids = self._encode_behind_anchor(piece, parse_control=parse_control)
        if not parse_control and self._control.get(piece) in ids:  # the vocabulary has it as an ordinary word, too
            return [i for char in piece for i in self._encode_behind_anchor(char, parse_control=False)]
        return ids

    def _encode_behind_anchor(self, piece: str, *, parse_control: bool) -> list[int]:
        """Encode behind a character that does not merge with the piece, then take that off again.

        For some tokenizers put a space before the beginning of a text.
        """
        for anchor in ANCHORS:
            anchor_ids = self._encode(anchor, parse_control=parse_control)
            ids = self._encode(anchor + piece, parse_control=parse_control)
            if ids[: len(anchor_ids)] == anchor_ids:
                return ids[len(anchor_ids) :]
        return self._encode(piece, parse_control=parse_control)

    def _surroundings(self) -> tuple[list[int], list[int]]:
        """Tokens that the tokenizer puts before and after a text."""
        bare = self._encode("a", parse_control=True)
        full = list(self._backend.encode("a", add_special_tokens=True).ids)
        start = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[:start], full[start + len(bare) :]


def _any_of(texts: Iterable[str]) -> str:
    """A regular expression for the longest of some texts."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))


def strip_leading_spaces(text: bytes, most: int) -> bytes:
    """Cut up to `most` spaces off the beginning."""
    return text[min(most, len(text) - len(text.lstrip(b" "))) :]


def load_hf_tokenizer(folder: Path) -> Any:
    """The `transformers` tokenizer of a model folder. Raises `UnsupportedTokenizerError`."""
    # AutoTokenizer knows what each specialised class does beside `tokenizer.json`, but imports torch, which takes
    # seconds. For the general class there is nothing to know.
    try:
        if _tokenizer_class(folder) in ("PreTrainedTokenizerFast", "TokenizersBackend"):
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(folder)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise UnsupportedTokenizerError(f"the tokenizer in {folder} cannot be loaded: {error}") from error


def _tokenizer_class(folder: Path) -> str | None:
    """The class that the folder names for its `tokenizer.json`."""
    config = folder / "tokenizer_config.json"
    if not config.is_file() or not (folder / "tokenizer.json").is_file():
        return None
    name: str | None = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    return name


def _token_table(backend: Tokenizer, size: int, decoder: dict[str, Any] | None) -> tuple[Sequence[bytes], int]:
    """The bytes of every token id below `size`, and how many spaces are cut off the beginning of a text."""
    steps = _decoder_steps(decoder)
    kinds = {step["type"] for step in steps}
    tokens = [backend.id_to_token(token_id) or "" for token_id in range(size)]
    if kinds == {"ByteLevel"}:
        alphabet = _byte_level_alphabet()
        return [_byte_level_bytes(token, alphabet) for token in tokens], 0
    if "Metaspace" in kinds and kinds <= {"Metaspace", "ByteFallback", "Fuse"}:
        always = all(step.get("prepend_scheme") != "never" for step in steps if step["type"] == "Metaspace")
        return [_sentencepiece_bytes(token, "▁") for token in tokens], size if always else 0
    if "Replace" in kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        spaces = sum(step["start"] for step in steps if step["type"] == "Strip")
        return [_sentencepiece_bytes(token, "▁") for token in tokens], spaces
    raise UnsupportedTokenizerError(
        f"tokenizer decoder {sorted(kinds) or 'none'} is not supported; byte-level BPE and SentencePiece styles are"
    )


def _decoder_steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _byte_level_bytes(token: str, alphabet: dict[str, int]) -> bytes:
    """Bytes of a byte-level token; an added token outside the alphabet is plain text (as `tokenizers` has it)."""
    try:
        return bytes([alphabet[char] for char in token])
    except KeyError:
        return token.encode()


def _sentencepiece_bytes(token: str, space: str) -> bytes:
    """Bytes of a SentencePiece token: `<0x0A>` is a byte, `▁` a space."""
    if re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace(space, " ").encode()


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte (Radford et al. 2019), inverted."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
