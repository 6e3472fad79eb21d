"""The application that Prometheus asks: `/metrics` and nothing else, on a port of its own."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_metrics_app(render: Callable[[str], tuple[bytes, str]]) -> Starlette:
    """`render` takes an Accept header and gives the samples and their content type."""

    async def metrics(request: Request) -> Response:
        body, content_type = render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    app = Starlette(routes=[Route("/metrics", metrics)])
    app.router.redirect_slashes = False
    return app
