"""The server under test, as a process of its own.

It has a scripted engine, or with `--model` a real one. It prints its ports as a line of JSON, then for each line of its
standard input a census, and ends with the input.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from pathlib import Path

import psutil

from fuzz.inputs import MAX_MESSAGE_BYTES, MODEL
from support.fake_engine import FakeEngine, FakeGeneration, answer, make_info
from support.server import ignore_progress
from support.tiny import make_model, make_tokenizer
from tokenwire.config import EngineConfig, ModelOptions, ServeConfig, ServerConfig, StreamConfig
from tokenwire.engine.grammar.checker import GrammarChecker
from tokenwire.engine.protocol import EngineLoad, GenerationRequest, Vocabulary
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server

TOKENS = (300, 301, 302)


class GrammarlessEngine(FakeEngine):
    """Answers every request with three tokens and keeps nothing. Grammars are tried out in earnest."""

    _checker: GrammarChecker | None = None

    async def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        self._checker = GrammarChecker(vocabulary)
        await self._checker.start()

    async def check_grammar(self, grammar: str) -> None:
        assert self._checker is not None
        await self._checker.check(grammar)

    def generate(self, request: GenerationRequest) -> FakeGeneration:
        generation = super().generate(request)
        self.requests.clear()
        self.aborts.clear()
        return generation

    async def stop(self) -> None:
        if self._checker is not None:
            await self._checker.stop()
        await super().stop()


def _engine(folder: Path, config: ServeConfig, *, is_real: bool) -> FakeEngine | SupervisedEngine:
    if is_real:
        make_model(folder)
        return SupervisedEngine(config.engine_options)
    make_tokenizer(folder)
    return GrammarlessEngine(answer(TOKENS), info=make_info(folder))


def _census(server: Server) -> dict[str, float]:
    """What must not grow. Taken after a collection of garbage."""
    gc.collect()
    process = psutil.Process()
    load: EngineLoad = server.engine.load
    return {
        "rss_mib": process.memory_info().rss / (1 << 20),
        "fds": process.num_fds(),
        "processes": len(process.children(recursive=True)),
        "tasks": len(asyncio.all_tasks()),
        "live": server.service.active,
        "held_blocks": load.total_blocks - load.free_blocks,
        "running": load.running + load.waiting,
    }


async def _serve(folder: Path, *, is_real: bool) -> None:
    config = ServeConfig(
        model=ModelOptions(model=str(folder), served_model_name=MODEL, device="cpu", weights="fp32"),
        engine=EngineConfig(kv_memory="8MiB"),
        server=ServerConfig(port=0, http_port=0, max_message_bytes=MAX_MESSAGE_BYTES, max_stored=64),
        streams=StreamConfig(retain_for_s=5, max_retain_for_s=20),  # what is kept for an hour would look like a leak
    )
    server = Server(config, _engine(folder, config, is_real=is_real))
    try:
        await server.start(ignore_progress)
        print(json.dumps({"grpc": server.port, "http": server.http_port}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(_census(server)), flush=True)
    finally:
        await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="store_true", help="a tiny random model instead of a scripted engine")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_serve(Path(folder), is_real=parser.parse_args().model))


if __name__ == "__main__":
    main()
