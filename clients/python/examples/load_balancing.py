"""Calls spread over several servers: python load_balancing.py 127.0.0.1:50051 127.0.0.1:50052

Shows every second what runs on each. End a server meanwhile (Ctrl-C): its answers end whole, and nothing fails.
"""

import sys
import threading
import time

from tokenwire_client import Client, TokenwireClientError, Transport

CALLERS = 8
SECONDS = 5

targets = sys.argv[1:] or ["127.0.0.1:50051", "127.0.0.1:50052"]
end = time.monotonic() + SECONDS
outcomes: list[TokenwireClientError | None] = []


def call(client: Client) -> None:
    """One call after the other."""
    while time.monotonic() < end:
        try:
            for _ in client.stream("Tell me a story.", max_completion_tokens=32):
                pass
            outcomes.append(None)
        except TokenwireClientError as error:
            outcomes.append(error)


def running(target: str) -> str:
    """What a server says of itself."""
    with Client(target, timeout_s=1, transport=Transport(retries=False)) as client:
        try:
            return f"{target}: {client.load().running_choices} running"
        except TokenwireClientError as error:
            return f"{target}: {error.code.name}"


with Client("ipv4:" + ",".join(targets), transport=Transport(load_balancing="round_robin")) as client:
    callers = [threading.Thread(target=call, args=(client,)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    while time.monotonic() < end:
        time.sleep(1)
        print("   ".join(running(target) for target in targets), flush=True)
    for caller in callers:
        caller.join()

failures = [error for error in outcomes if error is not None]
print(f"{len(outcomes)} calls, {len(failures)} failed")
sys.exit(f"the first: {failures[0]}" if failures else 0)
