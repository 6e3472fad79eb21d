"""The files of the playground, as a browser asks for them."""

import re
from dataclasses import replace

import httpx

from support.fake_engine import FakeEngine
from support.rest_api import TIMEOUT_S, Api, error_of
from support.serving import PORTS, serving

NO_SCRIPT_OF_OTHERS = ("default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'")


async def test_the_page_and_all_that_it_names_are_there_with_their_types(api: Api) -> None:
    page = await api.http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    names = re.findall(r'(?:src|href)="(playground/[^"]+)"', page.text)
    kinds = {name.rpartition(".")[2]: (await api.http.get(f"/{name}")).headers["content-type"] for name in names}
    assert kinds == {"svg": "image/svg+xml", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


async def test_every_file_runs_under_a_strict_policy(api: Api) -> None:
    for path in ("/", "/playground/main.js"):
        headers = (await api.http.get(path)).headers
        assert set(NO_SCRIPT_OF_OTHERS) <= {part.strip() for part in headers["content-security-policy"].split(";")}
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_browser_that_has_a_file_is_told_so(api: Api) -> None:
    first = await api.http.get("/playground/main.js")
    again = await api.http.get("/playground/main.js", headers={"if-none-match": f'W/{first.headers["etag"]}, "x"'})
    other = await api.http.get("/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (other.status_code, first.headers["cache-control"]) == (200, "no-cache")


async def test_a_file_that_is_not_there_is_an_error_object(api: Api) -> None:
    for path in ("/playground/nothing.js", "/playground/", "/playground/..%2fendpoints.py"):
        answered = await api.http.get(path)
        assert (answered.status_code, error_of(answered)["code"]) == (404, "unknown_url"), path


async def test_the_page_can_be_left_out(engine: FakeEngine) -> None:
    async with serving(engine, limits=replace(PORTS, playground=False)) as server, httpx.AsyncClient() as http:
        for path in ("/", "/playground/main.js"):
            answered = await http.get(f"http://127.0.0.1:{server.http_port}{path}", timeout=TIMEOUT_S)
            assert error_of(answered)["code"] == "unknown_url"


async def test_the_page_knows_where_grpc_is(engine: FakeEngine) -> None:
    async with serving(engine) as server, httpx.AsyncClient() as http:
        page = await http.get(f"http://127.0.0.1:{server.http_port}/", timeout=TIMEOUT_S)
        assert f'data-grpc-port="{server.port}"' in page.text
