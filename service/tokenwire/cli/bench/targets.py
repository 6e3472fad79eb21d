"""The servers that are measured: what all of them can do, and how a person names them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast


class RequestFailedError(Exception):
    """A server did not answer, or not in full; the message is for people."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, as the server counts them."""

    prompt_tokens: int
    completion_tokens: int


class Target(Protocol):
    """A server under load. Answers are greedy, and go on past the end of text where the server can."""

    @property
    def name(self) -> str:
        """What tables and plots call it."""

    async def describe(self) -> str:
        """What is served there. Called once, before the first answer. Raises `RequestFailedError`."""

    async def answer(self, prompt: str, *, max_tokens: int, on_text: Callable[[], None]) -> Usage:
        """Stream the answer to one user message; `on_text` is called whenever text arrives.

        Raises `RequestFailedError`.
        """

    async def close(self) -> None:
        """Give up the connections."""


Scheme = Literal["grpc", "http", "https"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    name: str
    scheme: Scheme
    location: str
    """After `//`: host, port, and for HTTP a path that usually ends in `/v1`."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}"


def parse_address(text: str) -> Address:
    """Read `name=grpc://host:port` or `name=http://host:port/v1`; the name may be left out. Raises ValueError."""
    url = text
    name, equals, rest = text.partition("=")
    if equals and "/" not in name:
        url = rest
    scheme, separator, location = url.partition("://")
    if scheme not in ("grpc", "http", "https") or not separator or not location:
        raise ValueError(f"a target is name=grpc://host:port or name=http://host:port/v1; got {text!r}")
    location = location.rstrip("/")
    return Address(name if url is rest and name else location, cast(Scheme, scheme), location)
