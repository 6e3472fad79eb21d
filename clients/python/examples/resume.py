"""A stream that outlives a lost connection: the client goes on where it was."""

import sys

from tokenwire_client import Client

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
with Client(target, resume=True) as client:
    for update in client.stream("Tell me about the sea.", max_completion_tokens=64):
        print(update.text, end="", flush=True)
    print(f"\n{update.completion.usage.completion_tokens} tokens")
