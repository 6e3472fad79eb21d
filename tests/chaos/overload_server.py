"""The front end as `tokenwire serve` runs it, over an engine in the same process that computes nothing.

python -m chaos.overload_server FOLDER MAX_RUNNING MAX_QUEUE STEP_S     FOLDER has a tokenizer

Prints its port, and serves until standard input ends.
"""

import asyncio
import sys
from pathlib import Path

from support.fake_engine import make_info
from support.slotted_engine import SlottedEngine
from tokenwire.config import EngineConfig, ModelOptions, QueueConfig, ServeConfig, ServerConfig, StreamConfig
from tokenwire.logs import configure_logs
from tokenwire.server import Server


async def serve(folder: Path, *, max_running: int, max_queue: int, step_s: float) -> None:
    config = ServeConfig(
        model=ModelOptions(model=str(folder), served_model_name="scripted"),
        server=ServerConfig(port=0),
        engine=EngineConfig(max_running=max_running),
        queue=QueueConfig(max_queue=max_queue),
        streams=StreamConfig(heartbeat_s=1.0),
    )
    server = Server(config, SlottedEngine(info=make_info(folder), slots=max_running, step_s=step_s))
    try:
        await server.start(lambda progress: None)
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    configure_logs(level="warning")
    folder, max_running, max_queue, step_s = sys.argv[1:]
    asyncio.run(serve(Path(folder), max_running=int(max_running), max_queue=int(max_queue), step_s=float(step_s)))
