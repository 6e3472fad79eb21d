"""Which tokens would bring a bad word into the text, exact at the level of bytes."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

from torch import Tensor

from tokenwire.engine.protocol import Vocabulary
from tokenwire.engine.sampling.token_mask import pack

_NO_TEXT = b"\xff"
"""Is in no word, for words are UTF-8: it stands between tokens."""


class TokenIndex:
    """The tokens of a vocabulary by their bytes. Special tokens add nothing to a text and so have none."""

    def __init__(self, vocabulary: Vocabulary, *, words: int) -> None:
        """`words`: size of masks over the vocabulary, in int32."""
        self.words = words
        no_text = vocabulary.special_token_ids.union(vocabulary.eos_token_ids)
        self._token_bytes = [b"" if i in no_text else text for i, text in enumerate(vocabulary.token_bytes)]
        self._ids = sorted(range(len(self._token_bytes)), key=self._token_bytes.__getitem__)
        self._sorted = [self._token_bytes[token_id] for token_id in self._ids]
        self._joined = b"".join(text + _NO_TEXT for text in self._sorted)
        self._starts = [0]  # of each sorted token in `_joined`, and the end
        for text in self._sorted:
            self._starts.append(self._starts[-1] + len(text) + 1)
        self.compile = lru_cache(maxsize=64)(self._compile)

    def __getitem__(self, token_id: int) -> bytes:
        """The bytes that a token adds to the text."""
        return self._token_bytes[token_id]

    def containing(self, word: bytes) -> list[int]:
        """Ids of the tokens that have the word in them."""
        found = []
        offset = self._joined.find(word)
        while offset >= 0:
            place = bisect_right(self._starts, offset) - 1
            found.append(self._ids[place])
            offset = self._joined.find(word, self._starts[place + 1])
        return found

    def beginning_with(self, prefix: bytes) -> list[int]:
        """Ids of the tokens that begin with these bytes."""
        first = bisect_left(self._sorted, prefix)
        last = bisect_left(self._sorted, prefix + b"\xff", lo=first)
        while last < len(self._sorted) and self._sorted[last].startswith(prefix):
            last += 1  # tokens of stray bytes
        return self._ids[first:last]

    def _compile(self, words: tuple[bytes, ...]) -> "WordSet":
        return WordSet(words, self)


class WordSet:
    """Bad words and what must follow them. Shared by sequences."""

    def __init__(self, words: Sequence[bytes], index: TokenIndex) -> None:
        self._index = index
        self.spellings = tuple(dict.fromkeys(words))
        self._borders = [_borders(word) for word in self.spellings]
        self.never = pack({i for word in self.spellings for i in index.containing(word)}, words=index.words)
        """Mask of the tokens that have a bad word in them."""
        self.after = lru_cache(maxsize=128)(self._after)

    def advance(self, word: int, matched: int, text: bytes) -> int:
        """Bytes of word number `word` that the text ends with, at most all but one; `matched` before `text` came.

        Source: the algorithm of Knuth, Morris and Pratt.
        """
        spelling, borders = self.spellings[word], self._borders[word]
        for byte in text:
            while matched and spelling[matched] != byte:
                matched = borders[matched]
            matched += spelling[matched] == byte
            if matched == len(spelling):  # only in text that was not ours to choose
                matched = borders[matched]
        return matched

    def text(self, token_ids: Iterable[int]) -> bytes:
        """The joined bytes of tokens."""
        return b"".join(map(self._index.__getitem__, token_ids))

    def _after(self, word: int, matched: int) -> Tensor:
        """Mask of the tokens that complete a word, where the text ends with its first `matched` bytes."""
        banned: set[int] = set()
        while matched:
            banned.update(self._index.beginning_with(self.spellings[word][matched:]))
            matched = self._borders[word][matched]
        return pack(banned, words=self._index.words)


class BadWords:
    """The bad words of one sequence, and how much of each its text ends with."""

    def __init__(self, words: WordSet, generated_token_ids: Iterable[int] = ()) -> None:
        self._words = words
        self._matched = [0] * len(words.spellings)
        self._take(words.text(generated_token_ids))

    def ban(self, mask: Tensor) -> None:
        """Take the tokens that may not come next out of a mask."""
        mask &= ~self._words.never
        for word, matched in enumerate(self._matched):
            if matched:
                mask &= ~self._words.after(word, matched)

    def take(self, token_id: int) -> None:
        """Add a token to the text."""
        self._take(self._words.text([token_id]))

    def _take(self, text: bytes) -> None:
        if text:
            advance = self._words.advance
            self._matched = [advance(word, matched, text) for word, matched in enumerate(self._matched)]


def _borders(word: bytes) -> list[int]:
    """For each length k: how many bytes the word's first k both begin and end with, at most k − 1."""
    borders = [0, 0]
    for byte in word[1:]:
        matched = borders[-1]
        while matched and word[matched] != byte:
            matched = borders[matched]
        borders.append(matched + (word[matched] == byte))
    return borders
