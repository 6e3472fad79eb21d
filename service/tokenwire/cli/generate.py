"""`tokenwire generate`: one prompt, one answer; made for pipes."""

import signal
import sys
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter
from google.protobuf.json_format import MessageToJson

from tokenwire.cli.options import AnswerOptions, FormOptions, ServerOptions
from tokenwire.cli.pipes import quiet_when_closed
from tokenwire.cli.problems import explain
from tokenwire.v1.chat_pb2 import ChatCompletionRequest
from tokenwire_client import Client, TokenwireClientError, chat_request, user
from tokenwire_client import system as system_message


def generate(
    prompt: str | None = None,
    /,
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    answer: AnswerOptions = AnswerOptions(),  # noqa: B008
    form: FormOptions = FormOptions(),  # noqa: B008
    system: str = "",
    request_id: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Answer one prompt: the text goes to standard output as it comes, errors go to standard error. ^C cancels.

    Parameters
    ----------
    prompt
        What the user says; without it, or with `-`, standard input is read.
    system
        Instructions to the model.
    request_id
        Name of the request: asked again, it attaches to its answer instead of beginning another one.
    json
        Print the whole completion as JSON instead of the text.
    """
    if prompt in (None, "-") and sys.stdin.isatty():
        print("there is no prompt: give one, or pipe it in", file=sys.stderr)
        return 2
    text = sys.stdin.read() if prompt is None or prompt == "-" else prompt
    request = chat_request([*([system_message(system)] if system else []), user(text)], answer.parameters)
    if request_id is not None:
        request.request_id = request_id
    if form.response_format:
        request.response_format.CopyFrom(form.response_format)
    try:
        with quiet_when_closed(), server.connect(resume=answer.resume) as client:
            (_print_json if json else _print_text)(client, request)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    return 0


def _print_text(client: Client, request: ChatCompletionRequest) -> None:
    with closing(client.stream(request)) as stream:
        for update in stream:
            print(update.text, end="", flush=True)
    print(flush=True)


def _print_json(client: Client, request: ChatCompletionRequest) -> None:
    with closing(client.stream(request)) as stream:
        *_, last = stream
    print(MessageToJson(last.completion, preserving_proto_field_name=True, ensure_ascii=False), flush=True)
