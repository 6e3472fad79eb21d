"""What the commands that are made for pipes do when the reader of their output goes away, as `head` does."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_when_closed() -> Iterator[None]:
    """End the command as SIGPIPE would, without a trace, once standard output is closed."""
    try:
        yield
    except BrokenPipeError:
        # Standard output is flushed once more at exit: let it succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
