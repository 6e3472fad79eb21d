"""What a caller sends to find a call again in logs and traces: `x-request-id` and `traceparent`."""

import re
import uuid
from collections.abc import Mapping

REQUEST_ID_HEADER = "x-request-id"

_SANE = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def request_id_of(headers: Mapping[str, str]) -> str:
    """The request id of a call (names in lower case): the caller's own if it is sane, else a new one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _SANE.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def traceparent_of(headers: Mapping[str, str]) -> str:
    """The trace context (W3C, version 00) of a call; empty where there is none or it is malformed."""
    given = headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else ""
