"""Python client of Tokenwire. Importing it never imports torch."""

from tokenwire_client._aio import AsyncClient
from tokenwire_client._connection import DEFAULT_TARGET, Transport
from tokenwire_client._messages import ContentPartDict, MessageDict, ToolCallDict, assistant, system, tool, user
from tokenwire_client._request import ChatParameters, ExecutionPolicyDict, Prompt, chat_request
from tokenwire_client._response_format import ResponseFormatDict, choice, json_schema, lark, regex
from tokenwire_client._stream import StreamUpdate
from tokenwire_client._sync import Client
from tokenwire_client._tools import ToolChoiceDict, ToolDict, function
from tokenwire_client.errors import (
    AuthenticationError,
    BrokenStreamError,
    CallCancelledError,
    CompletionNotFoundError,
    ConstraintFailedError,
    ConstraintInvalidError,
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
    "CompletionNotFoundError",
    "ConstraintFailedError",
    "ConstraintInvalidError",
    "ContentPartDict",
    "ContextLengthError",
    "DeadlineExceededError",
    "EngineFaultError",
    "ExecutionPolicyDict",
    "FieldViolation",
    "InvalidRequestError",
    "MessageDict",
    "ModelNotFoundError",
    "Prompt",
    "ResourceExhaustedError",
    "ResponseFormatDict",
    "StreamUpdate",
    "TokenwireClientError",
    "ToolCallDict",
    "ToolChoiceDict",
    "ToolDict",
    "Transport",
    "UnavailableError",
    "assistant",
    "chat_request",
    "choice",
    "function",
    "json_schema",
    "lark",
    "regex",
    "system",
    "tool",
    "user",
]
