"""`tokenwire chat`: talk with a model in the terminal."""

import sys

from tokenwire.cli.conversation import Conversation
from tokenwire.cli.options import AnswerOptions, ServerOptions
from tokenwire.cli.pipes import quiet_when_closed
from tokenwire.cli.problems import explain
from tokenwire_client import TokenwireClientError, chat_request


def chat(
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    answer: AnswerOptions = AnswerOptions(),  # noqa: B008
    system: str = "",
) -> int:
    """Chat with a served model. `/help` lists the commands; ^C stops an answer, ^D leaves.

    Parameters
    ----------
    system
        Instructions to the model; `/system` changes them.
    """
    is_terminal = sys.stdin.isatty()
    try:
        with quiet_when_closed(), server.connect(resume=answer.resume) as client:
            model = client.model(answer.model)
            if is_terminal:
                # Importing it gives `input` line editing and a history.
                import readline  # noqa: F401

                print(
                    f"{model.id} at {server.target}, context {model.context_length} tokens. /help lists the commands."
                )
            conversation = Conversation(
                client,
                target=server.target,
                request=chat_request([], answer.parameters),
                system=system,
                read_line=_read_typed_line if is_terminal else input,
                output=sys.stdout,
            )
            conversation.run()
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    return int(conversation.has_failed and not is_terminal)


def _read_typed_line() -> str:
    try:
        return input("> ")
    except EOFError:
        # ^D leaves the cursor behind the prompt.
        print()
        raise
