"""Pages of other origins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.fake_engine import FakeEngine
from support.server import TIMEOUT_S
from support.serving import PORTS, serving
from tokenwire.config import SecurityConfig

PAGE = "https://chat.example.com"
PATH = "/v1/chat/completions"
ASKING = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@asynccontextmanager
async def serving_pages(
    engine: FakeEngine, *origins: str, keys: Path | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    limits = replace(PORTS, cors_origins=origins)
    async with serving(engine, SecurityConfig(api_keys=keys), limits=limits) as server:
        url = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=False) as http:
            yield http


@pytest.mark.parametrize("origins", [(PAGE,), ("https://other.example.com", PAGE), ("*",)])
async def test_a_page_may_ask_first_without_a_key(engine: FakeEngine, tmp_path: Path, origins: tuple[str, ...]) -> None:
    keys = tmp_path / "keys.yaml"
    keys.touch()
    async with serving_pages(engine, *origins, keys=keys) as http:
        asked = await http.options(PATH, headers=ASKING)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "authorization"
        assert "access-control-allow-credentials" not in asked.headers


async def test_a_page_can_read_errors_and_our_headers(engine: FakeEngine) -> None:
    async with serving_pages(engine, PAGE) as http:
        for answered in (
            await http.get("/v1/models", headers={"origin": PAGE}),
            await http.get("/v1/nothing", headers={"origin": PAGE}),
            await http.post(PATH, content="{", headers={"origin": PAGE}),
        ):
            assert answered.headers["access-control-allow-origin"] == PAGE
            exposed = answered.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "retry-after", "x-tokenwire-ignored-fields"} <= set(exposed)


async def test_a_page_can_read_a_defect(engine: FakeEngine) -> None:
    engine.script = [ValueError("a defect")]
    async with serving_pages(engine, PAGE) as http:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
        answered = await http.post(PATH, json=body, headers={"origin": PAGE})
        assert answered.status_code == 500
        assert answered.headers["access-control-allow-origin"] == PAGE


async def test_what_a_browser_asks_first_has_a_request_id_and_an_access_line(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_pages(engine, PAGE) as http:
        with caplog.at_level("INFO", "tokenwire.access"):
            asked = await http.options(PATH, headers={**ASKING, "x-request-id": "mine-1"})
    assert asked.headers["x-request-id"] == "mine-1"
    assert any(f"OPTIONS {PATH} 200" in record.message for record in caplog.records)


async def test_other_pages_are_not_allowed(engine: FakeEngine) -> None:
    async with serving_pages(engine, PAGE) as http:
        stranger = {**ASKING, "origin": "https://evil.example.com"}
        assert (await http.options(PATH, headers=stranger)).status_code == 400
        answered = await http.get("/v1/models", headers={"origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in answered.headers


async def test_without_origins_there_is_no_cors(engine: FakeEngine) -> None:
    async with serving_pages(engine) as http:
        assert (await http.options(PATH, headers=ASKING)).status_code == 405
        answered = await http.get("/v1/models", headers={"origin": PAGE})
        assert "access-control-allow-origin" not in answered.headers
