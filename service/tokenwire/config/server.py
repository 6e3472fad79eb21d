"""Options of the server: where it listens, and its limits."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_message_size, check_not_negative, check_port, check_positive


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How clients reach the server."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and REST."""

    port: Annotated[int, Parameter(validator=check_port)] = 50051
    """gRPC port; 0 takes a free one."""

    http_port: Annotated[int | None, Parameter(validator=check_port)] = None
    """REST port; 0 takes a free one; default: no REST."""

    cors_origins: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Origins whose pages may call the REST API (`https://chat.example.com`), or `*` for all; default: none."""

    strict_fields: Annotated[bool, Parameter(negative="")] = False
    """Refuse REST requests with fields that nobody knows; default: ignore them, and name them in a header."""

    playground: bool = True
    """Whether the REST port has a page at `/` that tries out what is served."""

    max_message_bytes: Annotated[int, Parameter(validator=check_message_size)] = 32 * 1024 * 1024
    """Largest request message or body."""

    max_connections: Annotated[int, Parameter(validator=check_positive)] = 1024
    """Most connections to each port; more are closed at once."""

    max_stored: Annotated[int, Parameter(validator=check_positive)] = 1000
    """Most completions that are kept for GetChatCompletion; the oldest goes first."""

    stored_for_s: Annotated[float, Parameter(validator=check_positive)] = 3600.0
    """Seconds for which they are kept."""

    drain_grace_s: Annotated[float, Parameter(validator=check_not_negative)] = 30.0
    """Seconds that running completions get to finish after SIGTERM."""
