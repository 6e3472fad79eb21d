"""The endpoints that say what is served, and whether."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tokenwire.chat.caller import CURRENT
from tokenwire.rest.backend import ChatBackend
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, Model


class LookupEndpoints:
    """One method a route."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        listed = await self._backend.list_models(ListModelsRequest(), caller=CURRENT.get())
        return JSONResponse({"object": "list", "data": [_model_json(model) for model in listed.models]})

    async def get_model(self, request: Request) -> Response:
        """GET /v1/models/{id}; an id may have slashes, raw or escaped."""
        asked = GetModelRequest(model=request.path_params["model"])
        return JSONResponse(_model_json(await self._backend.get_model(asked, caller=CURRENT.get())))

    async def health(self, request: Request) -> Response:
        """GET /health: 200 if completions are accepted, else 503."""
        refusal = await self._backend.refusal()
        return JSONResponse({"status": refusal or "ok"}, 503 if refusal else 200)


def _model_json(model: Model) -> dict[str, object]:
    """An entry of the list of models."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created.seconds,
        "owned_by": "tokenwire",
        "tokenwire": {
            "system_fingerprint": model.system_fingerprint,
            "architecture": model.architecture,
            "dtype": model.dtype,
            "context_length": model.context_length,
            "vocabulary_size": model.vocabulary_size,
        },
    }
