"""What values of options are good. Each check raises `ValueError` with the limit and the value."""

import re

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})")


def parse_size(text: str) -> int:
    """The bytes that a size such as `512MiB` or `1.5GiB` names. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a size is a number and one of {', '.join(_UNITS)}, such as 2GiB; got {text!r}")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size == 0:
        raise ValueError(f"a size must be at least 1B; got {text!r}")
    return size


def check_size(_: object, value: str | None) -> None:
    """A size, or none."""
    if value is not None:
        parse_size(value)


def check_positive(_: object, value: float | None) -> None:
    """Above 0, or none."""
    if value is not None and value <= 0:
        raise ValueError(f"must be above 0; got {value}")


def check_not_negative(_: object, value: float) -> None:
    """A number of at least 0."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"must be a number of at least 0; got {value}")


def check_message_size(_: object, value: int) -> None:
    """What gRPC takes as the size of a message."""
    if not 0 < value < 1 << 31:  # gRPC keeps it in an int32
        raise ValueError(f"must be in [1, {(1 << 31) - 1}]; got {value}")


def check_port(_: object, value: int | None) -> None:
    """A TCP port, or none."""
    if value is not None and not 0 <= value <= 65535:
        raise ValueError(f"must be in [0, 65535]; got {value}")
