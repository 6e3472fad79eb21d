"""Log-probabilities of the engine's as the contract's messages."""

from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.v1.chat_pb2 import TokenLogprob, TopLogprob

MINUS_INFINITY = -9999.0


def token_text(tokenizer: ChatTokenizer, token_id: int) -> str:
    """A token as text by itself; a control token by its name."""
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")


def token_logprob(
    tokenizer: ChatTokenizer, token_id: int, logprobs: TokenLogprobs, *, token_bytes: bytes
) -> TokenLogprob:
    """Of a token that has these bytes in its text."""
    return TokenLogprob(
        token=token_text(tokenizer, token_id),
        logprob=max(logprobs.logprob, MINUS_INFINITY),
        bytes=token_bytes,
        token_id=token_id,
        top_logprobs=[_top_message(tokenizer, top_id, logprob) for top_id, logprob in logprobs.top],
    )


def _top_message(tokenizer: ChatTokenizer, token_id: int, logprob: float) -> TopLogprob:
    return TopLogprob(
        token=token_text(tokenizer, token_id),
        logprob=max(logprob, MINUS_INFINITY),
        bytes=b"" if tokenizer.is_special(token_id) else tokenizer.token_bytes(token_id),
        token_id=token_id,
    )
