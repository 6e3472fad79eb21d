"""A server in this process with the scripted engine, and a channel to it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from support.fake_engine import FakeEngine, answer, make_info
from support.server import TIMEOUT_S, ignore_progress
from support.tiny import make_tokenizer
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig
from tokenwire.engine.client import OPENMP_ENVIRONMENT
from tokenwire.server import Server

# Nothing has imported torch yet. Tests and engine processes share the cores.
os.environ.update(OPENMP_ENVIRONMENT)
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # the GPU's kernels, where no GPU is; read when Triton is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of the tests in clients/: this file is the one that pytest reads before it reads its options."""
    parser.addoption("--require-clients", action="store_true", help="fail where the tools of a language are missing")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tiny tokenizer and its chat template."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tokenizer(folder)
    return folder


@pytest.fixture
def engine(tiny_folder: Path) -> FakeEngine:
    """Answers every request with three tokens."""
    return FakeEngine(answer([300, 301, 302]), info=make_info(tiny_folder))


@pytest.fixture
def serve_config() -> ServeConfig:
    """Serves `tiny` on a free port, without REST."""
    return ServeConfig(
        model=ModelOptions(model="tiny"), server=ServerConfig(port=0, drain_grace_s=TIMEOUT_S, max_message_bytes=65536)
    )


@pytest.fixture
async def server(engine: FakeEngine, serve_config: ServeConfig) -> AsyncIterator[Server]:
    """A started server."""
    server = Server(serve_config, engine)
    try:
        await server.start(ignore_progress)
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
