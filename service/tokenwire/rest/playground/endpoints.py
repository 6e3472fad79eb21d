"""The endpoints of the playground: its page and the files that the page asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = "/playground/"
"""Under it are the files of the page."""

DEFAULT_GRPC_PORT = 50051

_PAGE = "index.html"
_GRPC_PORT = b'data-grpc-port="%d"'
_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS: Mapping[str, str] = {
    # Nothing but these files is loaded or run, nothing but this server is asked, and text never becomes markup.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",  # a browser keeps it, and asks whether it is the same: a newer server has a newer page
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    headers: Mapping[str, str]


class PlaygroundEndpoints:
    """One method a route. The files are read once."""

    def __init__(self, grpc_port: int = DEFAULT_GRPC_PORT) -> None:
        """`grpc_port` goes into the page."""
        self._files = {
            file.name: _read(file.name, file.read_bytes()) for file in files(__package__).joinpath("page").iterdir()
        }
        page = self._files[_PAGE].body.replace(_GRPC_PORT % DEFAULT_GRPC_PORT, _GRPC_PORT % grpc_port)
        self._files[_PAGE] = _read(_PAGE, page)

    @property
    def routes(self) -> list[Route]:
        """The page and its files."""
        return [Route("/", self.page), Route(f"{FOLDER}{{name}}", self.file)]

    async def page(self, request: Request) -> Response:
        """GET /."""
        return _answer(request, self._files[_PAGE])

    async def file(self, request: Request) -> Response:
        """GET /playground/{name}."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        return _answer(request, file)


def _read(name: str, body: bytes) -> _File:
    kind = _TYPES[name.rpartition(".")[2]]
    return _File(body, {**_HEADERS, "content-type": kind, "etag": f'"{sha256(body).hexdigest()[:32]}"'})


def _answer(request: Request, file: _File) -> Response:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.headers["etag"] in known:
        return Response(status_code=304, headers={**file.headers})
    return Response(file.body, headers={**file.headers})
