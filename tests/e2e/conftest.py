"""The real model behind a server in this process, and behind the real command."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from support.serve_process import ServeProcess
from support.server import ignore_progress
from tokenwire.cache import default_cache_dir
from tokenwire.config import EngineConfig, ModelOptions, ServeConfig, ServerConfig
from tokenwire.demo import fetch_demo_model
from tokenwire.engine.protocol import EngineInfo
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server
from tokenwire_client import AsyncClient

MODEL = "smollm2"
CALL_TIMEOUT_S = 280


@dataclass(frozen=True, slots=True)
class Serving:
    """A server in this process, in the event loop of the session, with its real engine."""

    engine: SupervisedEngine
    info: EngineInfo
    client: AsyncClient
    url: str
    """Base URL of the REST API, without `/v1`."""


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file of the demo model."""
    return fetch_demo_model(default_cache_dir())


@asynccontextmanager
async def serve(model: Path, *, deterministic: bool = False) -> AsyncIterator[Serving]:
    """gRPC and REST over a model with exact weights on the CPU."""
    config = ServeConfig(
        model=ModelOptions(model=str(model), served_model_name=MODEL, device="cpu", weights="fp32"),
        # One thread: the tests need the other core, and the command below has the default.
        engine=EngineConfig(kv_memory="512MiB", threads=1, deterministic=deterministic),
        server=ServerConfig(port=0, http_port=0),
    )
    engine = SupervisedEngine(config.engine_options)
    server = Server(config, engine)
    try:
        served = await server.start(ignore_progress)
        async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=CALL_TIMEOUT_S) as client:
            yield Serving(engine, served.info, client, f"http://127.0.0.1:{server.http_port}")
    finally:
        await server.stop()


# The servers end with this package: the tests behind it get their memory and cores, and look at engine processes.
@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def smollm2_server(smollm2: Path) -> AsyncIterator[Serving]:
    """The real model, served for all tests of this package."""
    async with serve(smollm2) as serving:
        yield serving


@pytest.fixture(scope="package")
def smollm2_command(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """`tokenwire serve` with the real model as it is served by default, ready."""
    log = tmp_path_factory.mktemp("serve") / "log"
    model = ("--model", smollm2, "--served-model-name", MODEL, "--device", "cpu", "--kv-memory", "512MiB")
    with ServeProcess(*model, "--port", "0", "--http-port", "0", "--admin-port", "0", log=log) as process:
        yield process.wait_until_ready()
