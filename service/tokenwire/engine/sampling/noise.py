"""Gumbel noise as a counter hash of (seed, position, token id): the same on every batch, slot, restart and device.

A token is drawn as argmax(z + G) with G standard Gumbel noise (the Gumbel-max trick), so a draw has no state: nothing
is consumed, and one position's noise can be made again at any time, for any part of the vocabulary.

The hash, in 32-bit integers that wrap:
- (seed, position) gives a 64-bit key, by SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
  generators", 2014). Its halves k1 and k2 are the row's keys.
- A token id gives a 32-bit word, by the finaliser of MurmurHash3 (Appleby). A table holds these words.
- Both meet in two rounds, one for each key, with the multipliers of MurmurHash3 and xxHash32. Two rows that agree in
  one key by chance (2^16 draws will do for 32 bits) still differ in the other.
"""

from collections.abc import Sequence

import torch

from tokenwire.engine.model.staging import stage

_MASK64 = 2**64 - 1
_GOLDEN64 = 0x9E3779B97F4A7C15
_GOLDEN32 = 0x9E3779B9
_MURMUR = (0x85EBCA6B, 0xC2B2AE35)
_XXHASH = (0x9E3779B1, 0x85EBCA77)


def _mix64(word: int) -> int:
    """SplitMix64's finaliser, a bijection on [0, 2^64)."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK64
    return word ^ (word >> 31)


def noise_key(seed: int, position: int) -> int:
    """64-bit key of one draw. `seed` is any int64; `position` is the number of tokens generated before this one.

    Both pass the finaliser, so neighbouring seeds (the choices of a request) and positions have unrelated keys.
    """
    return _mix64((_mix64((seed + _GOLDEN64) & _MASK64) + (position + 1) * _GOLDEN64) & _MASK64)


def _int32(word: int) -> int:
    """The int32 with the same low 32 bits: torch has no arithmetic on uint32."""
    return ((word & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def gumbel(words: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, float32, from hashed int32 words; written to `out`, of the same shape.

    A word x gives the uniform u = |x|·2^-31, u gives E = −log(1 − u), a standard exponential, and G = −log(E).
    What wins a draw is a large G: a small E, hence a small u, where floats lie densest. There u is exact in steps of
    2^-31 (0 counts as half a step), and log1p keeps that precision: a token 22 nats below the best one (32 · ln 2) can
    still win. With −log(−log(u)) and u in steps of 2^-24, as uniform generators give it, none beyond 16 nats could.
    The other end is coarse: u nears 1 in steps of 2^-24 and is kept below it, or E were infinite. That only rounds by
    how much a token loses.
    """
    out.copy_(words)
    # 2^31 − 128 is the largest float32 below 2^31.
    out.abs_().clamp_(0.5, 2.0**31 - 128).mul_(-(2.0**-31))
    return out.log1p_().neg_().log_().neg_()


class GumbelNoise:
    """Makes rows of noise for token ids [0, width). Keeps its scratch: fresh memory costs more than the arithmetic."""

    def __init__(self, width: int, *, device: torch.device) -> None:
        self._x = torch.empty((1, width), dtype=torch.int32, device=device)
        self._shifted = torch.empty_like(self._x)
        self._noise = torch.empty_like(self._x, dtype=torch.float32)
        self._words = torch.arange(width, dtype=torch.int32, device=device)  # [width]
        self._words += _int32(_GOLDEN32)
        for multiplier, shift in zip(_MURMUR, (16, 13), strict=True):
            _xor_shift(self._words, shift, self._shifted[0])
            self._words *= _int32(multiplier)
        _xor_shift(self._words, 16, self._shifted[0])

    def hash(self, keys: Sequence[int]) -> torch.Tensor:
        """int32 words, [len(keys), width], for keys made by `noise_key`. Overwritten by the next call."""
        self._reserve(len(keys))
        halves = [(_int32(key >> 32), _int32(key)) for key in keys]
        k1, k2 = stage(halves, device=self._words.device, dtype=torch.int32).T.unsqueeze(2)  # each [rows, 1]
        x, shifted = self._x[: len(keys)], self._shifted[: len(keys)]
        torch.bitwise_xor(self._words, k1, out=x)
        x *= _int32(_XXHASH[0])
        _xor_shift(x, 16, shifted)
        x ^= k2
        x *= _int32(_MURMUR[0])
        _xor_shift(x, 15, shifted)
        # The high bits of the last product depend on every bit before it, and the noise lives on the high bits.
        x *= _int32(_XXHASH[1])
        return x

    def rows(self, keys: Sequence[int]) -> torch.Tensor:
        """Standard Gumbel noise, float32, [len(keys), width]. Overwritten by the next call."""
        return gumbel(self.hash(keys), out=self._noise[: len(keys)])

    def _reserve(self, rows: int) -> None:
        if len(self._x) < rows:
            shape = (rows, len(self._words))
            self._x, self._shifted = self._x.new_empty(shape), self._shifted.new_empty(shape)
            self._noise = self._noise.new_empty(shape)


def _xor_shift(words: torch.Tensor, shift: int, scratch: torch.Tensor) -> None:
    """words ^= words >>> shift. torch shifts int32 arithmetically; the mask takes the copies of the sign away."""
    torch.bitwise_right_shift(words, shift, out=scratch)
    scratch &= (1 << (32 - shift)) - 1
    words ^= scratch
