"""Any server with OpenAI's REST API under load: `/models`, and `/chat/completions` as a stream of events."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx

from tokenwire.cli.bench.targets import Address, RequestFailedError, Usage


class RestTarget:
    """Sends what OpenAI documents, and `ignore_eos` to servers that take it."""

    def __init__(self, address: Address, *, model: str | None, api_key: str | None, timeout_s: float) -> None:
        self.name = address.name
        self._address = str(address)
        self._model = model
        self._extensions: dict[str, object] = {"ignore_eos": True}
        self._http = httpx.AsyncClient(
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,  # a proxy would be measured too
        )

    async def describe(self) -> str:
        """The model, and whether answers go on past the end of text."""
        if self._model is None:
            self._model = await self._only_model()
        try:
            await self.answer("Hello!", max_tokens=1, on_text=lambda: None)
        except _RefusedError:
            self._extensions = {}
            return f"{self._model}; it takes no `ignore_eos`, so its answers may be shorter"
        return self._model

    async def answer(self, prompt: str, *, max_tokens: int, on_text: Callable[[], None]) -> Usage:
        """One streamed answer."""
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._extensions,
        }
        usage = None
        try:
            async with self._http.stream("POST", f"{self._address}/chat/completions", json=body) as response:
                if response.status_code != HTTPStatus.OK:
                    raise _failure(response, await response.aread())
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if data == line.strip() or data == "[DONE]":
                        continue  # a comment, another field, the blank line between events, or the end
                    chunk = json.loads(data)
                    if "error" in chunk:
                        raise RequestFailedError(_message(chunk, default="the stream broke off with an error"))
                    usage = chunk.get("usage") or usage
                    if any(_has_text(choice["delta"]) for choice in chunk["choices"]):
                        on_text()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise RequestFailedError(f"{self._address}: {type(error).__name__}: {error}") from None
        if usage is None:
            raise RequestFailedError(f"{self._address} gave no usage, so its tokens cannot be counted")
        return Usage(usage["prompt_tokens"], usage["completion_tokens"])

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _only_model(self) -> str:
        try:
            response = await self._http.get(f"{self._address}/models")
            if response.status_code != HTTPStatus.OK:
                raise _failure(response, response.content)
            models = [str(model["id"]) for model in response.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise RequestFailedError(f"{self._address}: {type(error).__name__}: {error}") from None
        if len(models) != 1:
            raise RequestFailedError(f"{self._address} serves {', '.join(models) or 'no model'}: name one with --model")
        return models[0]


class _RefusedError(RequestFailedError):
    """The server does not take this request."""


def _failure(response: httpx.Response, body: bytes) -> RequestFailedError:
    refused = response.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        message = _message(json.loads(body), default=f"HTTP {response.status_code}")
    except ValueError:
        message = f"HTTP {response.status_code}"
    return (_RefusedError if refused else RequestFailedError)(message)


def _message(body: Any, *, default: str) -> str:
    """The message of an error in OpenAI's form."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else default


def _has_text(delta: dict[str, Any]) -> bool:
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))
