"""The answer as it comes, in asyncio."""

import asyncio
import sys
from contextlib import aclosing

from tokenwire_client import AsyncClient

TARGET = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"


async def main() -> None:
    async with (
        AsyncClient(TARGET) as client,
        aclosing(client.stream("Name three rivers.", max_completion_tokens=48)) as stream,
    ):
        async for update in stream:
            print(update.text, end="", flush=True)
    print(f"\n{update.completion.usage.completion_tokens} tokens")


asyncio.run(main())
