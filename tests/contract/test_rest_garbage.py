"""What is no HTTP gets the error object, too."""

import asyncio
import json

import pytest

from support.rest_api import TIMEOUT_S, Api


async def answer_to(api: Api, data: bytes) -> bytes:
    """All that the server sends before it closes the connection."""
    reader, writer = await asyncio.open_connection(api.http.base_url.host, api.http.base_url.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), TIMEOUT_S)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_gets_the_error_object(api: Api, data: bytes) -> None:
    head, body = (await answer_to(api, data)).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


async def test_a_bad_request_behind_an_answer_gets_its_own(api: Api) -> None:
    good = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    answers = await answer_to(api, good + b"GET /\r\n\r\n")
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400 " in answers
