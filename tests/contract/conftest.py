"""The REST layer over real sockets: uvicorn, the chat service and the scripted engine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import httpx
import openai
import pytest
from starlette.types import ASGIApp

from support.fake_engine import FakeEngine, answer, make_info
from support.rest_api import MAX_BODY_BYTES, MODEL, TIMEOUT_S, TOKENS, Api
from support.tiny import CHAT_TEMPLATE, make_tokenizer
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.config import ServerConfig
from tokenwire.gateway.gateway import create_gateway_app
from tokenwire.listen import listen
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer
from tokenwire.rpc.server import RpcServer


@pytest.fixture(scope="session")
def rest_model(tiny_folder: Path) -> ServedModel:
    """The tiny model under a name with a slash."""
    return ServedModel.load(MODEL, make_info(tiny_folder, context_length=2048))


@pytest.fixture(scope="session")
def thinking_model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model whose template opens a `<think>` section."""
    folder = tmp_path_factory.mktemp("thinking")
    make_tokenizer(folder, chat_template=CHAT_TEMPLATE.replace("assistant\n", "assistant\n<think>\n"))
    return ServedModel.load(MODEL, make_info(folder))


@pytest.fixture(params=["server", "gateway"])
async def loading(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """A server whose model is not loaded yet; REST in its process, and in a gateway before it."""
    engine = FakeEngine(answer(TOKENS))
    service = ChatService(engine, max_queue=4, max_request_bytes=MAX_BODY_BYTES)
    async with AsyncExitStack() as stack:
        if request.param == "server":
            app: ASGIApp = create_app(service, max_body_bytes=MAX_BODY_BYTES, keepalive_s=0.01)
        else:
            rpc = RpcServer(service, ServerConfig(port=0))
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{await rpc.start()}")
            stack.push_async_callback(rpc.stop, 0)
            app = create_gateway_app(
                await stack.enter_async_context(channel), max_body_bytes=MAX_BODY_BYTES, keepalive_s=0.01
            )
        listener = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = RestServer(app, listener)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(engine.stop)
        server.start()
        http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=False)
        yield Api(engine, service, await stack.enter_async_context(http))


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
