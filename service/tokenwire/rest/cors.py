"""Lets pages of other origins call: CORS."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from tokenwire.request_id import REQUEST_ID_HEADER
from tokenwire.rest.ignored import IGNORED_FIELDS_HEADER

MAX_AGE_S = 600
"""A browser asks again after that time."""


def allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Answers the questions that browsers ask first, which carry no key, and marks all answers, errors among them.

    `*` allows every origin. Credentials of browsers (cookies) are never allowed: a key is sent by the page itself.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[REQUEST_ID_HEADER, IGNORED_FIELDS_HEADER, "retry-after"],
        max_age=MAX_AGE_S,
    )
