"""The endpoints of tokens, in the form that vLLM gave them: /tokenize and /detokenize."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tokenwire.chat.caller import CURRENT
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BodyReader
from tokenwire.rest.chat.requests import parse_chat_request
from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.ignored import UnknownFields
from tokenwire.rest.json_names import in_json_terms
from tokenwire.rest.json_reader import JsonReader, set_field
from tokenwire.v1.models_pb2 import GetModelRequest
from tokenwire.v1.tokens_pb2 import DetokenizeRequest, TokenizeRequest

# Of a chat request; with another value it would be another prompt than that of a completion.
_NEUTRAL_IN_CHAT = {
    "add_generation_prompt": True,
    "add_special_tokens": False,
    "continue_final_message": False,
    "return_token_strs": False,
}
_DETOKENIZE_NAMES = {"token_ids": "tokens"}
_TOKENIZE_NAMES = {"text": "prompt"}


class TokenEndpoints:
    """One method a route."""

    def __init__(self, backend: ChatBackend, *, read_body: BodyReader, unknown_fields: UnknownFields) -> None:
        self._backend = backend
        self._read_body = read_body
        self._unknown_fields = unknown_fields

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: of a text (`prompt`), or of the prompt that a chat request gives (`messages`)."""
        body = await self._read_body(request)
        return await (self._tokenize_chat(body) if body.get("messages") is not None else self._tokenize_text(body))

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize."""
        reader, message = JsonReader(), DetokenizeRequest()
        for name, value in _given(reader, await self._read_body(request), required=("model", "tokens")):
            if name == "model":
                set_field(message, "model", reader.string(value, name))
            elif name == "tokens":
                ids = (
                    reader.int32(item, f"tokens[{index}]") for index, item in enumerate(reader.array(value, name) or [])
                )
                message.token_ids.extend(token_id for token_id in ids if token_id is not None)
            else:
                reader.ignored.append(name)
        _check(reader)
        headers = self._unknown_fields(reader.ignored)
        try:
            answer = await self._backend.detokenize(message, caller=CURRENT.get())
        except InvalidRequestError as error:
            raise _renamed(error, _DETOKENIZE_NAMES) from None
        return JSONResponse({"prompt": answer.text}, headers=headers)

    async def _tokenize_text(self, body: Mapping[str, object]) -> Response:
        reader, message, wants_texts = JsonReader(), TokenizeRequest(add_special_tokens=True), False
        for name, value in _given(reader, body, required=("model", "prompt")):
            match name:
                case "model":
                    set_field(message, "model", reader.string(value, name))
                case "prompt":
                    set_field(message, "text", reader.string(value, name))
                case "add_special_tokens":
                    set_field(message, name, reader.boolean(value, name))
                case "return_token_strs":
                    wants_texts = reader.boolean(value, name) or False
                case _:
                    reader.ignored.append(name)
        _check(reader)
        headers = self._unknown_fields(reader.ignored)
        try:
            answer = await self._backend.tokenize(message, caller=CURRENT.get())
        except InvalidRequestError as error:
            raise _renamed(error, _TOKENIZE_NAMES) from None
        texts = [token.decode(errors="replace") for token in answer.token_bytes] if wants_texts else None
        return await self._answer(message.model, answer.token_ids, texts, headers)

    async def _tokenize_chat(self, body: Mapping[str, object]) -> Response:
        reader = JsonReader()
        fields = dict(body)
        for name, neutral in _NEUTRAL_IN_CHAT.items():
            if (value := fields.pop(name, None)) is not None:
                refuse_unless(reader, name, value, neutral=(neutral,))
        _check(reader)
        parsed = parse_chat_request(fields)
        headers = self._unknown_fields(parsed.ignored_fields)
        try:
            prompt = await self._backend.render_prompt(parsed.message, caller=CURRENT.get())
        except InvalidRequestError as error:
            raise parsed.in_json_terms(error) from None
        return await self._answer(parsed.message.model, prompt.token_ids, None, headers)

    async def _answer(
        self, model: str, token_ids: Sequence[int], texts: list[str] | None, headers: dict[str, str]
    ) -> Response:
        described = await self._backend.get_model(GetModelRequest(model=model), caller=CURRENT.get())
        answer = {
            "count": len(token_ids),
            "max_model_len": described.context_length,
            "tokens": list(token_ids),
            "token_strs": texts,
        }
        return JSONResponse(answer, headers=headers)


def _given(reader: JsonReader, body: Mapping[str, object], *, required: Sequence[str]) -> Sequence[tuple[str, object]]:
    """The members that are not null. Records those that are required and not there."""
    given = {name: value for name, value in body.items() if value is not None}
    for name in required:
        if name not in given:
            reader.missing(name)
    return list(given.items())


def _check(reader: JsonReader) -> None:
    if reader.violations:
        raise InvalidRequestError(reader.violations)


def _renamed(error: InvalidRequestError, names: Mapping[str, str]) -> InvalidRequestError:
    """The same error in terms of the body: `token_ids[3]` is `tokens[3]`."""

    def rename(violation: Violation) -> Violation:
        name, bracket, rest = violation.field.partition("[")
        return in_json_terms(violation, {violation.field: names.get(name, name) + bracket + rest})

    return type(error)([rename(violation) for violation in error.violations])
