"""What comes from the client: the JSON body, read within a limit, and the news that it went away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from tokenwire.errors import MalformedMessageError
from tokenwire.rest.json_size import SMALL_BODY_BYTES, check_num_values

T = TypeVar("T")

BodyReader = Callable[[Request], Awaitable[dict[str, object]]]
"""Gives the JSON object that a request has for a body."""

BODY_TIMEOUT_S = 60.0
"""A body has to arrive in that time, as a gRPC request has."""


async def read_json_object(request: Request, *, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> dict[str, object]:
    """Read the body. Raises `HTTPException` 413 as soon as it has more than `max_bytes` and 408 if it takes more than
    `timeout_s` seconds, `MalformedMessageError` if it is no JSON object, `ClientDisconnect` if the client goes away."""
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read_body(request, max_bytes)
    except TimeoutError:
        # Else uvicorn would wait for the rest of the body before it reads another request.
        headers = {"connection": "close"}
        raise HTTPException(408, f"the body must arrive within {timeout_s:g} s; it has not", headers) from None
    if len(body) > SMALL_BODY_BYTES:
        await asyncio.to_thread(check_num_values, body)
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, bad UTF-8, an integer of thousands of digits
        raise MalformedMessageError(f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedMessageError("the body must be a JSON object")
    return value


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it when the client goes away (`ClientDisconnect`). The body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > max_bytes:
                raise HTTPException(413, f"the body must be at most {max_bytes} bytes; got more")
    return bytes(body)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
