"""Asks llguidance about a whole text at once."""

from tokenwire.engine.grammar.compiler import bytewise


def accepts(grammar: str, text: str) -> bool:
    """Whether a text is complete by a grammar without special tokens."""
    matcher = bytewise(grammar).deep_copy()
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()
