"""`tokenwire cancel`: end a completion."""

import sys
from typing import Annotated

from cyclopts import Parameter

from tokenwire.cli.options import ServerOptions
from tokenwire.cli.problems import explain
from tokenwire.v1.chat_pb2 import CompletionState
from tokenwire_client import TokenwireClientError


def cancel(
    completion_id: str | None = None,
    /,
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    request_id: Annotated[str | None, Parameter(show_default=False)] = None,
) -> int:
    """End a completion that is live, and print what has become of it.

    Parameters
    ----------
    completion_id
        Its id, `chatcmpl-…`.
    request_id
        Or the `request_id` of its request.
    """
    if (completion_id is None) == (request_id is None):
        print("name the completion by its id or by --request-id", file=sys.stderr)
        return 2
    try:
        with server.connect() as client:
            response = client.cancel(completion_id, request_id=request_id)
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    state = CompletionState.Name(response.state).removeprefix("COMPLETION_STATE_").lower()
    print(f"{response.completion_id}: {state}, {response.usage.completion_tokens} tokens were generated")
    return 0
