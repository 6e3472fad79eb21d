"""`tokenwire load`: the load of a server."""

import sys
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from google.protobuf.json_format import MessageToJson

from tokenwire.cli.options import ServerOptions
from tokenwire.cli.pipes import quiet_when_closed
from tokenwire.cli.problems import explain
from tokenwire.v1.operations_pb2 import Load
from tokenwire_client import TokenwireClientError


def load(
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    watch_s: Annotated[float | None, Parameter(validator=Number(gte=0.1, lte=3600))] = None,
) -> int:
    """Print the load of a server as JSON, one object a line.

    Parameters
    ----------
    watch_s
        Print it again and again, every so many seconds; ^C ends it.
    """
    try:
        with quiet_when_closed(), server.connect() as client:
            if watch_s is None:
                _print(client.load())
                return 0
            with closing(client.watch_load(interval_s=watch_s)) as loads:
                for each in loads:
                    _print(each)
    except KeyboardInterrupt:
        return 0
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    return 0


def _print(given: Load) -> None:
    text = MessageToJson(
        given, indent=None, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    print(text, flush=True)
