"""A page's code and a gRPC client through a real Envoy with the configuration of deploy/envoy."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from clients.conftest import Built
from clients.languages import PROTO, ROOT, Language, is_newer, run
from support.envoy import ENVOY, Envoy, envoy
from support.fake_engine import FakeEngine, answer, make_info
from support.server import TIMEOUT_S
from support.serving import until
from tokenwire.server import Server
from tokenwire_client import AsyncClient, InvalidRequestError

CLIENT = ROOT / "clients/web"
ORIGIN = "http://localhost:3000"
STREAM = "tokenwire.v1.ChatService/StreamChatCompletion"


def build() -> None:
    """The dependencies, where the lock file is newer than they are; then the page, where a source is."""
    installed, lock, page = (
        CLIENT / name for name in ("node_modules/.package-lock.json", "package-lock.json", "build/page.js")
    )
    if not is_newer(installed, [lock]):
        run("npm", "ci", "--no-fund", "--no-audit", cwd=CLIENT)
    written = [
        path for folder in ("src", "scripts") for path in (CLIENT / folder).rglob("*") if "gen" not in path.parts
    ]
    if not is_newer(page, [path for path in (*written, *PROTO.rglob("*.proto"), installed) if path.is_file()]):
        run("npm", "run", "build", cwd=CLIENT)


WEB = Language(
    name="web",
    build=build,
    driver=("node", CLIENT / "test/call.js"),
    example=lambda name: (),
    programs=("node", "npm", "protoc"),
    files=(ENVOY,),
    packages=("nodejs", "npm", "protobuf-compiler"),
)


@pytest.fixture
async def proxy(server: Server, built: Built, tmp_path: Path) -> AsyncIterator[Envoy]:
    """In front of the server, with the page built."""
    built(WEB)
    async with envoy(server.port, tmp_path) as proxy:
        yield proxy


async def call(url: str, what: str, proxy: Envoy) -> dict[str, Any]:
    """What the code of the page gets."""
    process = await asyncio.create_subprocess_exec(
        *WEB.driver,
        url,
        what,
        stdout=PIPE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(proxy.authority)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    got: dict[str, Any] = json.loads(output)
    return got


async def test_the_page_shows_the_answer_in_chromium(proxy: Envoy, server: Server, tmp_path: Path) -> None:
    pytest.importorskip("selenium", reason="selenium is not installed")
    from support.browser import CHROMIUM, DRIVER

    if None in (CHROMIUM, DRIVER):
        pytest.skip("there is no Chromium with its driver")
    async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
        completion = await client.chat("hi")
    handler = partial(SimpleHTTPRequestHandler, directory=str(CLIENT / "build"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        serving = asyncio.get_running_loop().run_in_executor(None, pages.serve_forever)
        address = f"http://127.0.0.1:{pages.server_port}/?server=http://{proxy.http}&model=tiny&question=hi"
        shown = asyncio.to_thread(_answer_shown, address, completion.choices[0].content, tmp_path / "profile")
        try:
            assert await shown == completion.choices[0].content
        finally:
            pages.shutdown()
            await serving


def _answer_shown(address: str, wanted: str, profile: Path) -> str:
    """What the page shows, once it is what is wanted or the time is over."""
    from selenium.common.exceptions import TimeoutException

    from support.browser import Page, chromium

    with chromium(profile) as browser:
        browser.get(address)
        page = Page(browser, address)
        with suppress(TimeoutException):
            page.until(lambda: page.one("#answer").text == wanted)
        return page.one("#answer").text


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_streams_an_answer(proxy: Envoy, server: Server, scheme: str) -> None:
    got = await call(f"{scheme}://{getattr(proxy, scheme)}", "stream", proxy)
    async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=TIMEOUT_S) as client:
        completion = await client.chat("hi")
    assert (got["error"], len(got["texts"]) > 1) == (None, True)
    assert "".join(got["texts"]) == completion.choices[0].content


async def test_a_page_gets_an_error_with_its_details(proxy: Envoy) -> None:
    got = await call(f"https://{proxy.https}", "error", proxy)
    assert got["texts"] == []
    assert (got["error"]["code"], got["error"]["reason"]) == ("InvalidArgument", "FIELD_INVALID")
    assert sorted(got["error"]["fields"]) == ["temperature", "top_p"]


class TestOfAnEndlessAnswer:
    """One that is given up in its midst."""

    @pytest.fixture
    def engine(self, tiny_folder: Path) -> FakeEngine:
        """Stands still after the first token."""
        return FakeEngine(lambda asked: [answer([300, 301])(asked)[0], asyncio.Event()], info=make_info(tiny_folder))

    async def test_a_page_that_stops_frees_its_place_on_the_server(self, proxy: Envoy, engine: FakeEngine) -> None:
        got = await call(f"https://{proxy.https}", "stop", proxy)
        assert (len(got["texts"]), got["error"]["code"]) == (1, "Canceled")

        async def is_aborted() -> bool:
            return len(engine.aborts) == 1

        await until(is_aborted)


async def test_a_page_of_an_allowed_origin_may_call_and_another_may_not(proxy: Envoy) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-grpc-web"}
    async with httpx.AsyncClient(base_url=f"http://{proxy.http}", timeout=TIMEOUT_S) as http:
        allowed = await http.options(f"/{STREAM}", headers={"origin": ORIGIN, **asked})
        other = await http.options(f"/{STREAM}", headers={"origin": "https://elsewhere.example", **asked})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert {"authorization", "x-grpc-web"} <= set(allowed.headers["access-control-allow-headers"].split(","))
    assert "access-control-allow-origin" not in other.headers


async def test_a_grpc_client_calls_through_the_same_port(proxy: Envoy) -> None:
    credentials = grpc.ssl_channel_credentials(proxy.authority.read_bytes())
    async with AsyncClient(proxy.https, credentials=credentials, timeout_s=TIMEOUT_S) as client:
        updates = [update async for update in client.stream("hi")]
        assert updates[-1].completion.choices[0].content == "".join(update.text for update in updates)
        with pytest.raises(InvalidRequestError) as caught:
            await client.chat("hi", temperature=3)
    assert [violation.field for violation in caught.value.violations] == ["temperature"]
