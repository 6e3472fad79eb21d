"""HTTP requests as bytes: JSON of all shapes to the routes, and what is hardly HTTP."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from fuzz import texts
from fuzz.inputs import MAX_MESSAGE_BYTES, MODEL

CHAT: Final = "/v1/chat/completions"
MAX_HEAD_BYTES: Final = 64 * 1024
"""That the server takes."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request."""

    method: str
    path: str
    data: bytes
    """All of it, as it is sent."""
    is_whole: bool = True
    """Whether the server can know that nothing more comes. If not, the caller leaves without an answer."""


_COUNTS: Final = tuple(range(12))
_NUMBERS: Final = (0, 1, 2, -1, 0.5, -0.0, 2.5, 101, 1e308, 2**31, -(2**63), 10**400)

# Values that have the right type, or nearly. A function makes one.
_FIELDS: Final[Mapping[str, Sequence[Any] | Callable[[Random], Any]]] = {
    "model": (MODEL, MODEL, MODEL, "", "other"),
    "stream": (True, False),
    "stream_options": ({"include_usage": True}, {}, {"include_obfuscation": True}, {"x": 1}),
    "temperature": _NUMBERS,
    "top_p": _NUMBERS,
    "n": (1, 2, 3, 129, True, "1"),
    "max_tokens": _COUNTS,
    "max_completion_tokens": _COUNTS,
    "stop": ("a", ["a", "b"], [], [""], ["x"] * 5),
    "seed": (1, -1, 2**63, 1.0),
    "logprobs": (True, False),
    "top_logprobs": (*_COUNTS, 21),
    "prompt_logprobs": (*_COUNTS, 21),
    "logit_bias": ({"1": 5}, {"x": 1}, {"1": None}, {"-1": 0}, {"9" * 30: 1}, {"1": 1e999}, [1]),
    "frequency_penalty": _NUMBERS,
    "metadata": ({"a": "b"}, {"a": 1}, {"a" * 65: ""}, {"": ""}),
    "user": ("u", "u" * 257),
    "store": (True, False),
    "service_tier": ("auto", "default", "flex", "priority", "Auto", 3),
    "priority": _NUMBERS,
    "ignore_eos": (True,),
    "min_tokens": _COUNTS,
    "stop_token_ids": ([1], [-1], [True], [2**40]),
    "bad_words": (["a"], [""], ["x" * 257]),
    "chat_template_kwargs": ({}, {"enable_thinking": False}, {"messages": []}),
    "parallel_tool_calls": (True, False),
    "tool_choice": ("auto", "required", "none", {"type": "function", "function": {"name": "f"}}, {}),
    "tools": lambda rng: [
        {"type": "function", "function": {"name": "f", "parameters": _json_of(texts.schema_text(rng))}}
    ],
    "response_format": lambda rng: rng.choice(
        (
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "s", "schema": _json_of(texts.schema_text(rng))}},
            {"type": "regex", "regex": texts.regex(rng)},
            {"type": "lark", "lark": texts.grammar(rng)},
            {"type": "choice", "choice": [texts.text(rng), "b"]},
            {"type": "nothing"},
        )
    ),
    "messages": lambda rng: [_message(rng) for _ in range(rng.randint(0, 4))],
    "functions": ([],),
    "audio": ({},),
    "request_id": ("r1", "r2", "", "é"),
    "execution_policy": ({"priority": 1}, {"retain_for": "1s"}, {"on_disconnect": 3}),
    "\ud800": (1,),
    "__proto__": ({},),
}

_GARBAGE_BODIES: Final = (
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"NaN",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"{} {}",
    b'{"model": 1e999999999}',
    b'{"n": ' + b"9" * 5000 + b"}",
    b"model=tiny&messages=hello",
)

_HEADERS: Final = (
    b"Content-Type: text/plain",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Encoding: gzip",
    b"Accept: text/html",
    b"Accept-Encoding: br, gzip;q=0",
    b"Authorization: Bearer \xff",
    b"Authorization: Basic eDp5",
    b"X-Request-Id: " + b"a" * 200,
    b"X-Request-Id: \xe9",
    b"Traceparent: 00-zz",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
    b"Range: bytes=0-1",
    b"Cookie: " + b"a=b;" * 2000,
    b"X-Forwarded-For: 1.2.3.4, ::1",
    b"Content-Type: " + b"x" * 8000,
)

_PATHS: Final = (
    CHAT,
    CHAT + "/",
    CHAT + "/chatcmpl-x",
    CHAT + "/%00",
    CHAT + "/a%2Fb",
    CHAT + "/" + "x" * 2000,
    "/v1/models",
    "/v1/models/" + MODEL,
    "/v1/models/%F0%9F%99%82",
    "/v1/models/..%2f..%2fetc",
    "/v1/models/%ff",
    "/health",
    "/metrics",
    "/",
    "//",
    "/%",
    "/v1?" + "a=b&" * 2000,
    "*",
)

_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW")

_HARDLY_HTTP: Final = (
    b"\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",  # no host
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET " + b"/x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
)


_STREAM_BODY: Final = b'{"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'

STREAM: Final = HttpCall(
    "POST",
    CHAT,
    b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
    % (CHAT.encode(), len(_STREAM_BODY), _STREAM_BODY),
)
"""A good one."""


def random_http_call(rng: Random) -> HttpCall:
    """A request: mostly a chat completion with JSON that is near a good one."""
    kind = rng.random()
    if kind < 0.04:
        return HttpCall("GET", "/", rng.choice(_HARDLY_HTTP))
    if kind < 0.2:
        method, path = rng.choice(_METHODS), rng.choice(_PATHS)
        return _call(rng, method, path, _body(rng) if rng.random() < 0.3 else b"")
    return _call(rng, "POST", CHAT, _body(rng))


def _call(rng: Random, method: str, path: str, body: bytes) -> HttpCall:
    headers = [b"Host: localhost", b"Connection: close", *rng.sample(_HEADERS, rng.choice((0, 0, 1, 2)))]
    is_whole, framed = True, body
    match rng.choice(("length", "length", "length", "chunked", "longer", "shorter")):
        case "length":
            headers.append(b"Content-Length: %d" % len(body))
        case "chunked":
            headers.append(b"Transfer-Encoding: chunked")
            framed = _chunks(rng, body)
        case "longer":
            headers.append(b"Content-Length: %d" % (len(body) + rng.choice((1, 100, 1 << 40))))
            is_whole = False
        case _:  # what is left over looks like a second request
            headers.append(b"Content-Length: %d" % (len(body) // 2))
    head = b"%s %s HTTP/1.1\r\n" % (method.encode(), path.encode())
    return HttpCall(method, path, head + b"\r\n".join(headers) + b"\r\n\r\n" + framed, is_whole)


def _chunks(rng: Random, body: bytes) -> bytes:
    size = rng.choice((1, 7, 1000, 100_000)) if len(body) < 5000 else 100_000
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _body(rng: Random) -> bytes:
    if rng.random() < 0.08:
        return rng.choice(_GARBAGE_BODIES)
    if rng.random() < 0.01:
        return json.dumps(_request(rng) | {"user": "x" * MAX_MESSAGE_BYTES}).encode()
    text = json.dumps(_request(rng), ensure_ascii=rng.random() < 0.9)
    data = text.encode(errors="replace") if rng.random() < 0.9 else text.encode("utf-8", "surrogatepass")
    return _damaged(rng, text, data) if rng.random() < 0.15 else data


def _damaged(rng: Random, text: str, data: bytes) -> bytes:
    match rng.choice(("bom", "utf-16", "utf-32", "cut", "flip", "twice", "nest", "tail")):
        case "bom":
            return b"\xef\xbb\xbf" + data
        case "utf-16" | "utf-32" as encoding:
            return text.encode(encoding, "replace")
        case "cut":
            return data[: rng.randrange(len(data))]
        case "flip":
            position = rng.randrange(len(data))
            return data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :]
        case "twice":  # every key has two values
            return b"{" + data[1:-1] + b"," + data[1:]
        case "nest":
            depth = rng.choice((60, 70, 900, 1100, 20_000))
            return data[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
        case _:
            return data + b" x"


def _request(rng: Random) -> dict[str, Any]:
    body: dict[str, Any] = {} if rng.random() < 0.05 else {"model": MODEL, "max_tokens": rng.randint(1, 6)}
    body["messages"] = [{"role": "user", "content": "hello"}]
    for name in rng.sample(list(_FIELDS), rng.choice((0, 1, 1, 2, 3, 6))):
        values = _FIELDS[name]
        if rng.random() < 0.15:
            body[name] = texts.json_value(rng)
        else:
            body[name] = values(rng) if callable(values) else rng.choice(values)
    return body


def _message(rng: Random) -> Any:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": texts.arguments_text(rng)}}
    return rng.choice(
        (
            {"role": "user", "content": texts.text(rng)},
            {"role": "user", "content": [{"type": "text", "text": texts.text(rng)}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": texts.text(rng)},
            {"role": "assistant", "reasoning_content": texts.text(rng), "content": "x"},
            {"role": texts.text(rng), "content": texts.json_value(rng)},
            texts.json_value(rng),
        )
    )


def _json_of(text: str) -> Any:
    """The value of a JSON text; of what is none, the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
