"""JSON body of a response → contract message. Types only, as for chat completions."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenwire.errors import InvalidRequestError, TokenwireError, Violation
from tokenwire.rest.chat.requests import read_parameters, read_stream_options
from tokenwire.rest.json_reader import JsonReader, set_field
from tokenwire.rest.responses.form import read_text, read_tool_choice, read_tools
from tokenwire.rest.responses.items import InputReader
from tokenwire.rest.responses.paths import BodyPaths
from tokenwire.rest.responses.unserved import refuse_unserved
from tokenwire.v1.chat_pb2 import ChatCompletionRequest
from tokenwire.v1.errors_pb2 import ErrorReason

JsonObject = dict[str, object]

_LOGPROBS = "message.output_text.logprobs"
# The others add to items that no answer here has; a reasoning item has its whole text, and needs no encrypted one.
_INCLUDABLE: Mapping[str, str] = {
    name: name
    for name in (
        _LOGPROBS,
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    )
}


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A request for a response as it came over HTTP."""

    message: ChatCompletionRequest
    stream: bool
    asked: JsonObject
    """What of the request the response object repeats."""
    ignored_fields: tuple[str, ...]
    json_names: Mapping[str, str]
    paths: BodyPaths

    def in_body_terms(self, error: TokenwireError) -> TokenwireError:
        """The same error with the paths of the body."""
        if error.reason == ErrorReason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED:
            text = str(error).replace("max_completion_tokens", "max_output_tokens")
            return InvalidRequestError([Violation("input", text, "context_length_exceeded")])
        if not isinstance(error, InvalidRequestError):
            return error
        return type(error)([self.paths.in_body_terms(each, self.json_names) for each in error.violations])


def parse_response_request(body: Mapping[str, object]) -> ParsedResponse:
    """Translate a JSON object. Raises `InvalidRequestError` as `parse_chat_request`."""
    reader, message, paths = JsonReader(), ChatCompletionRequest(), BodyPaths()
    refused = JsonReader()  # its paths are those of the body already
    given = {name: value for name, value in body.items() if value is not None}
    asked = _asked(given)
    for name in ("model", "input"):
        if name not in given:
            reader.missing(name)
    conversation = InputReader(reader, message, paths)
    if "instructions" in given:
        conversation.read_instructions(given.pop("instructions"))
    if "input" in given:
        conversation.read_input(given.pop("input"))
    asked["tools"] = read_tools(reader, given.pop("tools", []), message)
    if "tool_choice" in given:
        read_tool_choice(reader, given.pop("tool_choice"), message)
    asked["text"] = read_text(reader, given.pop("text", {}), message)
    if "max_output_tokens" in given:
        limit = reader.int32(given.pop("max_output_tokens"), "max_output_tokens")
        set_field(message, "max_completion_tokens", limit)
    _read_logprobs(reader, given, message)
    stream, _ = read_stream_options(reader, given)  # usage comes with the last event
    refuse_unserved(refused, given)
    read_parameters(reader, given, message)
    renamed = (paths.in_body_terms(each, reader.json_names) for each in reader.violations)
    if violations := [*refused.violations, *renamed]:
        raise InvalidRequestError(violations)
    return ParsedResponse(
        message=message,
        stream=stream,
        asked=asked,
        ignored_fields=(*refused.ignored, *map(paths.rename, reader.ignored)),
        json_names=reader.json_names,
        paths=paths,
    )


def _asked(given: Mapping[str, object]) -> JsonObject:
    """The response has all of the parameters, also those that have one value here; the formats are still to come."""
    user = {"user": given["user"]} if "user" in given else {}  # OpenAI's schema has no null there
    return {
        **user,
        "background": False,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": given.get("metadata", {}),
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": given.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": given.get("safety_identifier"),
        "store": False,
        "tool_choice": given.get("tool_choice", "auto"),
        "top_logprobs": given.get("top_logprobs", 0),
        "truncation": "disabled",
    }


def _read_logprobs(reader: JsonReader, given: dict[str, object], message: ChatCompletionRequest) -> None:
    """They are asked by `include`, and by a number of most likely tokens above 0."""
    include = reader.array(given.pop("include", []), "include") or []
    included = [reader.one_of(item, f"include[{index}]", _INCLUDABLE) for index, item in enumerate(include)]
    top = reader.int32(given.pop("top_logprobs", 0), "top_logprobs")
    message.logprobs = _LOGPROBS in included or bool(top)
    if message.logprobs:
        set_field(message, "top_logprobs", top)
