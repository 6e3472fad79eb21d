"""The front end as `tokenwire serve` runs it, over the engine of `support/scripted_engine.py`.

python tests/bench/edge_server.py FOLDER     FOLDER has the tokenizer; the environment the engine's pace

Prints its gRPC and REST ports, and serves until standard input ends.
"""

import asyncio
import sys
from pathlib import Path

from tokenwire.config import EngineConfig, ModelOptions, ServeConfig, ServerConfig
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.logs import configure_logs
from tokenwire.server import Server

ENGINE = Path(__file__).parents[1] / "support" / "scripted_engine.py"
MOST_STREAMS = 512


async def serve(folder: str) -> None:
    config = ServeConfig(
        model=ModelOptions(model=folder, served_model_name="scripted"),
        server=ServerConfig(port=0, http_port=0),
        engine=EngineConfig(max_running=MOST_STREAMS, max_step_tokens=2 * MOST_STREAMS),
    )
    server = Server(config, SupervisedEngine(config.engine_options, program=(str(ENGINE),)))
    try:
        await server.start(lambda progress: None)
        print(server.port, server.http_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    configure_logs()
    asyncio.run(serve(sys.argv[1]))
