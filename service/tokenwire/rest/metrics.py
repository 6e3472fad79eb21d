"""The endpoint that Prometheus asks, on the REST port and on a port of its own."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Render = Callable[[str], tuple[bytes, str]]
"""Takes an Accept header and gives the samples and their content type."""


class MetricsEndpoint:
    """One method a route."""

    def __init__(self, render: Render) -> None:
        self._render = render

    async def get(self, request: Request) -> Response:
        """GET /metrics."""
        body, content_type = self._render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def create_metrics_app(render: Render) -> Starlette:
    """`/metrics` and nothing else."""
    app = Starlette(routes=[Route("/metrics", MetricsEndpoint(render).get)])
    app.router.redirect_slashes = False
    return app
