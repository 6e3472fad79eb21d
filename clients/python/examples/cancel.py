"""Leaving a stream: that frees its place on the server at once."""

import sys
from contextlib import closing

from tokenwire_client import Client

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
with Client(target) as client:
    # Without `closing` the stream is closed when Python drops it, which here is soon enough, too.
    with closing(client.stream("Tell me a long story.", max_completion_tokens=64, ignore_eos=True)) as stream:
        for number, update in enumerate(stream, start=1):
            print(update.text, end="", flush=True)
            if number == 5:
                break
    print("\nleft after 5 updates")
