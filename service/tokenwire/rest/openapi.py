"""The endpoint that describes the others: `openapi.yaml` as JSON."""

from importlib.resources import files

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tokenwire import __version__


def openapi_document() -> dict[str, object]:
    """The OpenAPI 3.1 document of this version."""
    text = files("tokenwire.rest").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, object] = yaml.safe_load(text)
    info = document["info"]
    assert isinstance(info, dict)
    info["version"] = __version__
    return document


class OpenApiEndpoint:
    """One method a route. The document is read once."""

    def __init__(self) -> None:
        self._body = JSONResponse(openapi_document()).body

    async def get(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(self._body, media_type="application/json")
