"""Bytes that are no message, or not the one that was meant: cut, flipped, of other wire types, too deep."""

from random import Random
from typing import Final

_GROUP_START: Final = b"\x0b"
_GROUP_END: Final = b"\x0c"
_MAX_BYTES: Final = 200_000
_MAX_REPEATED: Final = 4096


def _groups(depth: int) -> bytes:
    """Groups of unknown fields in each other: a parser has a limit for them."""
    return _GROUP_START * depth + _GROUP_END * depth


def _nested(depth: int) -> bytes:
    """Field 2 in field 2 in field 2, as far as a length of one byte goes."""
    data = b""
    for _ in range(depth):
        data = b"\x12" + bytes([len(data)]) + data
    return data


_PIECES: Final = (
    b"\x00",  # field number 0
    b"\x07",  # wire type 7
    b"\xff" * 11,  # a varint without an end
    b"\x0a\xff\xff\xff\xff\x0f",  # a length of 4 GiB
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length below 0
    b"\x0a\x04\xff\xfe\xfd\xfc",  # no UTF-8
    b"\x0a\x03\xed\xa0\x80",  # a surrogate
    b"\x08\x96\x01",  # field 1 as a varint
    b"\x0d\x00\x00\x00\x00",  # field 1 as a fixed32
    b"\x12\x02\x08\x63",  # a role that is not known
    b"\xfa\xff\xff\xff\x0f\x00",  # the largest field number
    _GROUP_END,
    _GROUP_START * 3,
    *(_groups(depth) for depth in (90, 99, 100, 101, 200, 50_000)),
    *(_nested(depth) for depth in (1, 20, 60)),
)


def damaged(rng: Random, good: bytes) -> bytes:
    """The bytes of a message after one to three mishaps."""
    data = bytearray(good)
    for _ in range(rng.randint(1, 3)):
        position = rng.randrange(len(data) + 1)
        match rng.choice(("cut", "flip", "insert", "repeat", "replace", "tag")):
            case "cut":
                del data[position:]
            case "flip" if position < len(data):
                data[position] ^= 1 << rng.randrange(8)
            case "insert":
                data[position:position] = _piece(rng)
            case "repeat":
                data += data[position:][:_MAX_REPEATED]
            case "replace":
                piece = _piece(rng)
                data[position : position + len(piece)] = piece
            case "tag" if data:  # the type of a field at the beginning
                data[0] = (data[0] & 0xF8) | rng.randrange(8)
    return bytes(data[:_MAX_BYTES])


def _piece(rng: Random) -> bytes:
    return rng.choice(_PIECES) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 24))
