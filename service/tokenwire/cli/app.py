"""The command `tokenwire`. Commands are imported when they are called, so that clients never load the server."""

import sys
from io import TextIOWrapper

from cyclopts import App

from tokenwire import __version__

app = App(name="tokenwire", help="LLM chat over gRPC, for teams that host their own model.", version=__version__)
app.command("tokenwire.cli.serve:app", name="serve", help="Serve a model.")
app.command("tokenwire.cli.gateway:app", name="gateway", help="Serve the REST API of a service that runs elsewhere.")
app.command("tokenwire.cli.chat:chat", name="chat", help="Chat with a served model in the terminal.")
app.command("tokenwire.cli.generate:generate", name="generate", help="Answer one prompt; made for pipes.")
app.command("tokenwire.cli.cancel:cancel", name="cancel", help="End a completion.")
app.command("tokenwire.cli.load:load", name="load", help="Show the load of a server.")
app.command("tokenwire.cli.keys:app", name="keys", help="Make API keys.")
app.command("tokenwire.cli.health:health", name="health", help="Say whether a server serves; made for probes.")
app.command("tokenwire.cli.bench.command:bench", name="bench", help="Measure a server under load.")


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # bytes that are no text, characters that the terminal does not have
    app()
