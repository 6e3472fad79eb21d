"""Addresses to listen on."""

import socket


class ListenError(Exception):
    """An address cannot be listened on; the message is for the operator."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"cannot listen on {format_address(host, port)}: the port is in use or the host is not ours")


def format_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises `ListenError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ListenError(host, port) from error
