"""Python client of Tokenwire. Importing it never imports torch."""

from tokenwire_client._aio import AsyncClient
from tokenwire_client._connection import DEFAULT_TARGET, Transport
from tokenwire_client._request import (
    ChatParameters,
    ContentPartDict,
    MessageDict,
    Prompt,
    assistant,
    chat_request,
    system,
    user,
)
from tokenwire_client._stream import StreamUpdate
from tokenwire_client._sync import Client
from tokenwire_client.errors import (
    AuthenticationError,
    BrokenStreamError,
    CallCancelledError,
    ContextLengthError,
    DeadlineExceededError,
    EngineFaultError,
    FieldViolation,
    InvalidRequestError,
    ModelNotFoundError,
    ResourceExhaustedError,
    TokenwireClientError,
    UnavailableError,
)

__all__ = [
    "DEFAULT_TARGET",
    "AsyncClient",
    "AuthenticationError",
    "BrokenStreamError",
    "CallCancelledError",
    "ChatParameters",
    "Client",
    "ContentPartDict",
    "ContextLengthError",
    "DeadlineExceededError",
    "EngineFaultError",
    "FieldViolation",
    "InvalidRequestError",
    "MessageDict",
    "ModelNotFoundError",
    "Prompt",
    "ResourceExhaustedError",
    "StreamUpdate",
    "TokenwireClientError",
    "Transport",
    "UnavailableError",
    "assistant",
    "chat_request",
    "system",
    "user",
]
