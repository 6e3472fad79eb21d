"""The structures of `decoder.h` and the functions of the library, for ctypes. Fields are in the order of the header."""

import ctypes
from typing import Any, ClassVar

_POINTER, _INT64, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Linear(ctypes.Structure):
    """One packed linear layer."""

    _fields_: ClassVar[Any] = [
        *_fields(_INT, "format"),
        *_fields(_INT64, "outputs inputs"),
        *_fields(_POINTER, "packed bias"),
    ]


class Layer(ctypes.Structure):
    """One decoder layer with its cache."""

    _fields_: ClassVar[Any] = [
        *_fields(_POINTER, "input_norm output_norm query_norm key_norm"),
        *_fields(Linear, "qkv output gate_up down"),
        *_fields(_INT64, "window"),
        *_fields(_FLOAT, "scale"),
        *_fields(_POINTER, "keys values"),
    ]


class Decoder(ctypes.Structure):
    """The whole model."""

    _fields_: ClassVar[Any] = [
        *_fields(_INT64, "num_layers hidden heads kv_heads head_dim intermediate blocks block_size"),
        *_fields(_FLOAT, "epsilon"),
        *_fields(_POINTER, "embedding cosines sines norm"),
        *_fields(Linear, "head"),
        *_fields(ctypes.POINTER(Layer), "layers"),
    ]


class Batch(ctypes.Structure):
    """One packed batch."""

    _fields_: ClassVar[Any] = [
        *_fields(_INT64, "rows spans logit_rows table_width"),
        *_fields(_POINTER, "token_ids positions counts keys tables wanted"),
    ]


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Say what the functions of the library take and give."""
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "packed_bytes": (_INT64, [_INT, _INT64, _INT64]),
        "pack_weights": (_FLOAT, [_INT, _INT64, _INT64, _POINTER, _POINTER]),
        "pass_new": (_POINTER, [_INT]),
        "pass_free": (None, [_POINTER]),
        "pass_run": (_INT, [_POINTER, ctypes.POINTER(Decoder), ctypes.POINTER(Batch), _POINTER]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
