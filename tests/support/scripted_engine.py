"""A scripted engine as a process of its own: speaks the engine's protocol on the engine's socket and computes nothing.

Every live sequence gets one token a step. The pace is in the environment (`Pace`), and so is the file for the times at
which the frames went out: they are on the clock that all processes of a machine share.
"""

import json
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from tokenwire.engine.protocol import (
    Abort,
    Command,
    EngineInfo,
    EngineLoad,
    EngineOptions,
    FinishReason,
    GenerationRequest,
    Ready,
    SequenceOutput,
    Shutdown,
    StepFrame,
    Submit,
)
from tokenwire.engine.wire import FrameSocket, PeerGoneError

PROGRAM = (__file__,)
"""For `EngineProcess`."""

PACE_VARIABLE = "TOKENWIRE_TEST_ENGINE"


@dataclass(frozen=True, slots=True)
class Pace:
    """What the engine does, and where it writes down when."""

    step_s: float
    """Time from step to step; 0: as fast as frames are taken."""
    token_ids: tuple[int, ...]
    """Given in turn. Each must be one ASCII character of text, so that characters count tokens."""
    vocabulary_size: int
    journal: str
    """File for a `Journal`, written at the end."""

    @classmethod
    def from_environment(cls) -> Self:
        return cls(**json.loads(os.environ[PACE_VARIABLE]))

    def environment(self) -> dict[str, str]:
        """For `from_environment` in the engine process."""
        return {PACE_VARIABLE: json.dumps(asdict(self))}


@dataclass(slots=True)
class Journal:
    """When what happened, on the monotonic clock. The n-th token of a request went out with frame `first + n`."""

    frames_s: list[float] = field(default_factory=list)
    requests: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By id: when it came, and its first frame."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([self.frames_s, self.requests]), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(*json.loads(path.read_text(encoding="utf-8")))


class ScriptedEngine:
    """Takes commands and sends frames, one step after the other."""

    def __init__(self, frames: FrameSocket, pace: Pace) -> None:
        self._frames = frames
        self._pace = pace
        self._tokens = [(token_id,) for token_id in pace.token_ids]
        self._live: dict[str, tuple[GenerationRequest, int]] = {}  # with the number of tokens so far
        self.journal = Journal()

    def run(self) -> None:
        """Until `Shutdown`."""
        due_s = time.monotonic()
        while True:
            is_idle = not self._live
            for command in self._frames.receive(wait=is_idle):
                if isinstance(command, Shutdown):
                    return
                self._handle(command)
            now_s = time.monotonic()
            due_s = now_s if is_idle else due_s + self._pace.step_s
            if due_s > now_s:
                time.sleep(due_s - now_s)
            self._step()

    def _handle(self, command: Command) -> None:
        match command:
            case Submit(request):
                self._live[request.request_id] = (request, 0)
                self.journal.requests[request.request_id] = (time.monotonic(), len(self.journal.frames_s))
            case Abort(request_id, _):
                self._live.pop(request_id, None)

    def _step(self) -> None:
        tokens = self._tokens
        outputs = []
        for request_id, (request, position) in list(self._live.items()):
            is_last = position + 1 == request.sampling.max_tokens
            reason = FinishReason.LENGTH if is_last else None
            outputs.append(SequenceOutput(request_id, 0, tokens[position % len(tokens)], (), reason))
            if is_last:
                del self._live[request_id]
            else:
                self._live[request_id] = (request, position + 1)
        load = EngineLoad(step=len(self.journal.frames_s), running=len(self._live))
        self.journal.frames_s.append(time.monotonic())
        self._frames.send(StepFrame(tuple(outputs), load))


def main() -> None:
    pace = Pace.from_environment()
    frames = FrameSocket(socket.socket(fileno=int(sys.argv[1])))
    (options,) = frames.receive(wait=True)
    assert isinstance(options, EngineOptions)
    info = EngineInfo(
        model_path=Path(options.model),
        architecture="Scripted",
        dtype="float32",
        weights="",
        device="cpu",
        vocabulary_size=pace.vocabulary_size,
        context_length=1 << 20,
        kv_cache_tokens=1 << 30,
        eos_token_ids=(2,),
        weights_fingerprint="00",
    )
    frames.send(Ready(info, EngineLoad()))
    engine = ScriptedEngine(frames, pace)
    try:
        engine.run()
    except PeerGoneError:
        pass
    finally:
        engine.journal.write(Path(pace.journal))


if __name__ == "__main__":
    main()
