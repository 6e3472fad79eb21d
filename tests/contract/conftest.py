"""The REST layer over real sockets: uvicorn, the chat service and the scripted engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest

from support.fake_engine import FakeEngine, answer, make_info
from support.rest_api import MAX_BODY_BYTES, MODEL, TIMEOUT_S, TOKENS, Api
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.listen import listen
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer


@pytest.fixture(scope="session")
def rest_model(tiny_folder: Path) -> ServedModel:
    """The tiny model under a name with a slash."""
    return ServedModel.load(MODEL, make_info(tiny_folder, context_length=2048))


@pytest.fixture
async def loading() -> AsyncIterator[Api]:
    """A server whose model is not loaded yet."""
    engine = FakeEngine(answer(TOKENS))
    service = ChatService(engine, max_queue=4, max_request_bytes=MAX_BODY_BYTES)
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = RestServer(create_app(service, max_body_bytes=MAX_BODY_BYTES, keepalive_s=0.01), listener)
    server.start()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=False) as http:
            yield Api(engine, service, http)
    finally:
        await engine.stop()
        await server.stop()


@pytest.fixture
async def api(loading: Api, rest_model: ServedModel) -> Api:
    """A server that serves."""
    loading.service.open(rest_model)
    return loading


@pytest.fixture
async def sdk(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK, pointed at the server."""
    url = f"{api.http.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0, timeout=TIMEOUT_S) as client:
        yield client
