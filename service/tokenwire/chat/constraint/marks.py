"""Marks in answers, such as `<tool_call>`, in llguidance's Lark: special tokens by id, all other text as it is."""

import json

from tokenwire.chat.tokenizer import ChatTokenizer

ANY = "/(?s:.*)/"


def written(text: str, tokenizer: ChatTokenizer) -> str:
    """A Lark expression for a text of ours that may have special tokens in it."""
    pieces = tokenizer.special_pieces(text)
    return " ".join(f"<[{piece}]>" if isinstance(piece, int) else json.dumps(piece) for piece in pieces)


def without(mark: str) -> str:
    """A Lark terminal for text that does not have a mark in it, as text."""
    return f"{ANY} & ~({ANY} {json.dumps(mark)} {ANY})"


def up_to(mark: str, *, text: str, rule: str, tokenizer: ChatTokenizer) -> str:
    """The definition of a Lark rule: the terminal `text`, which does not have the mark in it, and then the mark."""
    if [*map(type, tokenizer.special_pieces(mark))] == [int]:
        return f"{rule}: {text} {written(mark, tokenizer)}"
    return f"{rule}[lazy]: {text} {json.dumps(mark)}"
