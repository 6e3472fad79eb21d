"""Chat requests as JSON bodies, for the tests of their translation."""

from collections.abc import Mapping

import pytest

from tokenwire.errors import InvalidRequestError
from tokenwire.rest.chat.requests import ParsedRequest, parse_chat_request
from tokenwire.v1.chat_pb2 import Message

HI = {"role": "user", "content": "hi"}


def parse(**fields: object) -> ParsedRequest:
    """Translate a valid body with these fields."""
    return parse_chat_request({"model": "m", "messages": [HI], **fields})


def parse_message(**fields: object) -> Message:
    """Translate a valid body with this one message."""
    return parse(messages=[fields]).message.messages[0]


def violations(body: Mapping[str, object]) -> list[tuple[str, str]]:
    """Paths and codes of what is wrong with a body with these fields."""
    with pytest.raises(InvalidRequestError) as caught:
        parse(**body)
    return [(violation.field, violation.code) for violation in caught.value.violations]
