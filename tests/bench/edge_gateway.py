"""A gateway as `tokenwire gateway` runs it, for benches.

python tests/bench/edge_gateway.py TARGET    TARGET is the gRPC address of a front end

Prints its port, and serves until standard input ends.
"""

import asyncio
import sys

from tokenwire.config import GatewayConfig
from tokenwire.gateway.gateway import Gateway
from tokenwire.logs import configure_logs


async def serve(target: str) -> None:
    gateway = Gateway(GatewayConfig(target=target, http_port=0))
    try:
        await gateway.start()
        print(gateway.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await gateway.stop()


if __name__ == "__main__":
    configure_logs()
    asyncio.run(serve(sys.argv[1]))
