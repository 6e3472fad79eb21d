"""A scripted engine as a process of its own: speaks the engine's protocol on the engine's socket and computes nothing.

Every live sequence gets its tokens with each step. The pace is in the environment (`Pace`), and so is the file for the
times at which the frames went out: they are on the clock that all processes of a machine share.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
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
from tokenwire.engine.wire import FrameSocket, PeerGoneError, encode_frame

PROGRAM = (__file__,)
"""For `SupervisedEngine`."""

MOST_LATE_S = 0.05
"""An engine that had to wait for the front end makes up for no more than this."""

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
    tokens_per_step: int = 1
    """To each sequence. More than one is what speculation gives."""

    @classmethod
    def from_environment(cls) -> Self:
        return cls(**json.loads(os.environ[PACE_VARIABLE]))

    def environment(self) -> dict[str, str]:
        """For `from_environment` in the engine process."""
        return {PACE_VARIABLE: json.dumps(asdict(self))}


@dataclass(slots=True)
class Journal:
    """When what happened, on the monotonic clock. The n-th step of a request went out with frame `first + n`."""

    frames_s: list[float] = field(default_factory=list)
    requests: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By id: when it came, and its first frame."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([self.frames_s, self.requests]), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(*json.loads(path.read_text(encoding="utf-8")))


@dataclass(slots=True)
class _Live:
    """A sequence."""

    request_id: str
    first: int
    """Its first step."""
    num_tokens: int
    """In the whole answer."""


class ScriptedEngine:
    """Takes commands and sends frames, one step after the other.

    As long as the same sequences are live, the frames come again with each turn of the tokens: they are pickled once.
    The number of the step in their load is that of the first time.
    """

    def __init__(self, frames: FrameSocket, sock: socket.socket, pace: Pace) -> None:
        """`sock` is the socket of `frames`."""
        self._frames = frames
        self._socket = sock
        self._pace = pace
        self._live: dict[str, _Live] = {}
        self._ends: dict[int, list[str]] = {}
        """By step: who gets the last tokens with it."""
        self._made: dict[int, bytes] = {}
        """Frames, by the step's number modulo the number of tokens."""
        self._step_number = 0
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
            due_s = now_s if is_idle else max(due_s + self._pace.step_s, now_s - MOST_LATE_S)
            if due_s > now_s:
                time.sleep(due_s - now_s)
            self._step()

    def _handle(self, command: Command) -> None:
        match command:
            case Submit(request):
                self._submit(request)
            case Abort(request_id, _):
                self._forget(request_id)

    def _submit(self, request: GenerationRequest) -> None:
        live = _Live(request.request_id, self._step_number, request.sampling.max_tokens)
        num_steps = -(-live.num_tokens // self._pace.tokens_per_step)
        self._live[live.request_id] = live
        self._ends.setdefault(live.first + num_steps - 1, []).append(live.request_id)
        self._made.clear()
        self.journal.requests[live.request_id] = (time.monotonic(), live.first)

    def _forget(self, request_id: str) -> None:
        if self._live.pop(request_id, None) is not None:
            self._made.clear()

    def _step(self) -> None:
        ends = self._ends.pop(self._step_number, ())
        turn = self._step_number % len(self._pace.token_ids)
        frame = self._frame(ends) if ends else self._made.get(turn)
        if frame is None:
            frame = self._made[turn] = self._frame(())
        for request_id in ends:
            self._forget(request_id)
        self._step_number += 1
        self.journal.frames_s.append(time.monotonic())
        self._send(frame)

    def _frame(self, ends: Sequence[str]) -> bytes:
        load = EngineLoad(step=self._step_number, running=len(self._live))
        outputs = tuple(self._output(live, is_last=live.request_id in ends) for live in self._live.values())
        return encode_frame(StepFrame(outputs, load))

    def _output(self, live: _Live, *, is_last: bool) -> SequenceOutput:
        width, letters = self._pace.tokens_per_step, self._pace.token_ids
        before = (self._step_number - live.first) * width
        end = live.num_tokens if is_last else before + width
        tokens = tuple(letters[position % len(letters)] for position in range(before, end))
        return SequenceOutput(live.request_id, 0, tokens, (), FinishReason.LENGTH if is_last else None)

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.sendall(frame)
        except ConnectionError as error:
            raise PeerGoneError from error


def main() -> None:
    pace = Pace.from_environment()
    sock = socket.socket(fileno=int(sys.argv[1]))
    frames = FrameSocket(sock)
    (options,) = frames.receive(wait=True)
    assert isinstance(options, EngineOptions)
    info = EngineInfo(
        model_path=Path(options.model),
        architecture="Scripted",
        dtype="float32",
        weights="",
        device="cpu",
        vocabulary_size=pace.vocabulary_size,
        context_length=1 << 30,
        kv_cache_tokens=1 << 30,
        eos_token_ids=(2,),
        weights_fingerprint="00",
    )
    frames.send(Ready(info, EngineLoad()))
    engine = ScriptedEngine(frames, sock, pace)
    try:
        engine.run()
    except PeerGoneError:
        pass
    finally:
        engine.journal.write(Path(pace.journal))


if __name__ == "__main__":
    main()
