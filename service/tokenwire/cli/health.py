"""`tokenwire health`: whether a server serves, for probes and scripts."""

import sys
import time
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from tokenwire.cli.options import ServerOptions
from tokenwire.cli.problems import explain
from tokenwire_client import Client, TokenwireClientError

CHECK_TIMEOUT_S = 5.0
"""A server that does not answer within it does not serve."""

PAUSE_S = 0.5


def health(
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    service: str = "",
    wait_s: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
) -> int:
    """Say whether a server serves: exit code 0 if it does, else 1.

    Parameters
    ----------
    service
        Name of a service, such as `tokenwire.v1.ChatService`, or `live` for the process alone; default: all of them.
    wait_s
        Ask again for so many seconds, until it serves.
    """
    give_up_s = time.monotonic() + wait_s
    try:
        with server.connect() as client:
            while (status := _status(client, service, may_fail=time.monotonic() < give_up_s)) != "SERVING":
                if time.monotonic() >= give_up_s:
                    break
                time.sleep(PAUSE_S)
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    print(status)
    return int(status != "SERVING")


def _status(client: Client, service: str, *, may_fail: bool) -> str:
    """What the server says; empty where it says nothing and it `may_fail`."""
    try:
        return client.health(service, timeout_s=CHECK_TIMEOUT_S)
    except TokenwireClientError:
        if may_fail:
            return ""
        raise
