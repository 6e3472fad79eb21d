"""Prompts that come as they are, without a chat template."""

from tokenwire.chat.prompt.template import Prompt
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import RawPrompt


def raw_prompt(given: RawPrompt, tokenizer: ChatTokenizer) -> Prompt:
    """Tokenise a valid prompt. Raises `InvalidRequestError` where it has no tokens."""
    if given.WhichOneof("prompt") == "token_ids":
        token_ids = tuple(given.token_ids.ids)
        prompt = Prompt(tokenizer.decode(token_ids, skip_special_tokens=False), token_ids)
    else:
        prompt = Prompt(given.text, tuple(tokenizer.encode_prompt(given.text)))
    if not prompt.token_ids:
        field = f"raw_prompt.{given.WhichOneof('prompt')}"
        raise InvalidRequestError([Violation(field, f"`{field}` must have at least 1 token; got 0", "empty_array")])
    return prompt
