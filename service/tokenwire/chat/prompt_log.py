"""Logs what is asked and what is answered: only where the operator wants that."""

import logging

from tokenwire.v1.chat_pb2 import ChatCompletion

logger = logging.getLogger("tokenwire.chat.prompts")


def log_prompt(completion_id: str, prompt: str) -> None:
    """What the model is given, as text."""
    logger.info("%s prompt: %r", completion_id, prompt)


def log_answer(completion: ChatCompletion) -> None:
    """What the choices have, as far as they came."""
    for choice in completion.choices:
        for part, text in (("reasoning", choice.reasoning), ("content", choice.content)):
            if text:
                logger.info("%s choice %d %s: %r", completion.id, choice.index, part, text)
        for call in choice.tool_calls:
            logger.info(
                "%s choice %d call: %s %r", completion.id, choice.index, call.function.name, call.function.arguments
            )
