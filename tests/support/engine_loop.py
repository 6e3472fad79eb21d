"""The engine's loop in a thread of this process, and the front end's end of it."""

import select
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.tiny import vocabulary_of
from tokenwire.engine.assembly import AssembledEngine, build_engine
from tokenwire.engine.loop import EngineLoop
from tokenwire.engine.protocol import Command, EngineOptions, SequenceOutput, SetVocabulary, Shutdown
from tokenwire.engine.runner import ModelRunner
from tokenwire.engine.wire import FrameSocket

WAIT_S = 60

Outputs = dict[tuple[str, int], list[SequenceOutput]]
"""By request id and index."""


class LoopClient:
    """The front end's end of a loop."""

    def __init__(self, engine: AssembledEngine, sock: socket.socket) -> None:
        self.engine = engine
        self._socket = sock
        self._frames = FrameSocket(sock)

    def send(self, *commands: Command) -> None:
        for command in commands:
            self._frames.send(command)

    def receive(self) -> Iterator[SequenceOutput]:
        """The outputs of the next frames."""
        assert select.select([self._socket], [], [], WAIT_S)[0], "no frame came"
        for frame in self._frames.receive(wait=True):
            yield from frame.outputs

    def receive_until_ended(self, live: set[tuple[str, int]]) -> Outputs:
        """All outputs, up to the end of these sequences."""
        outputs: Outputs = defaultdict(list)
        while live:
            for output in self.receive():
                key = output.request_id, output.index
                outputs[key].append(output)
                if output.finish_reason is not None:
                    live = live - {key}
        return outputs


def _as_it_is(runner: ModelRunner) -> ModelRunner:
    return runner


@contextmanager
def running_loop(
    folder: Path, *, wrap: Callable[[ModelRunner], ModelRunner] = _as_it_is, **options: object
) -> Iterator[LoopClient]:
    """A loop in deterministic mode, which has ended and holds nothing afterwards. `wrap` gets between it and steps."""
    engine = build_engine(
        EngineOptions(model=str(folder), device="cpu", deterministic=True, **options),  # type: ignore[arg-type]
        on_progress=lambda progress: None,
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = EngineLoop(
            engine.scheduler, wrap(engine.runner), engine.sampler, FrameSocket(theirs), overlap=engine.overlap
        )
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        client = LoopClient(engine, ours)
        client.send(SetVocabulary(vocabulary_of(folder, engine.info)))
        yield client
        client.send(Shutdown())
        thread.join(WAIT_S)
        assert not thread.is_alive()
    engine.scheduler.check_integrity()
    load = engine.scheduler.load(0)
    assert (load.running, load.waiting, load.free_blocks) == (0, 0, load.total_blocks)
