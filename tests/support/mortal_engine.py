"""A scripted engine as a process of its own that can be made to die, to hang, and not to start.

Sequence `index` of a request gets `prompt[0] + 1000 · index + position` at each position, one token a step. A prompt
may have marks behind its first token: what to do instead of giving the first token, or a later one.
"""

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

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
"""For `SupervisedEngine`."""

DIES, DIES_LATER, HANGS = 1, 2, 3
"""Marks in a prompt."""
LATER = 5
"""Position of that one."""

STEP_S = 0.002


def expected(request: GenerationRequest) -> list[list[int]]:
    """What each sequence of a request gets."""
    first, length = request.prompt_token_ids[0], request.sampling.max_tokens
    return [[first + 1000 * index + position for position in range(length)] for index in range(request.n)]


class MortalEngine:
    """Takes commands and sends frames, one step after the other."""

    def __init__(self, frames: FrameSocket) -> None:
        self._frames = frames
        self._live: dict[tuple[str, int], tuple[GenerationRequest, int]] = {}
        """With the number of tokens so far."""

    def run(self) -> None:
        """Until `Shutdown`."""
        num_steps = 0
        while True:
            for command in self._frames.receive(wait=not self._live):
                if isinstance(command, Shutdown):
                    return
                self._handle(command)
            time.sleep(STEP_S)
            num_steps += 1
            outputs = tuple(self._output(*key) for key in list(self._live))
            self._frames.send(StepFrame(outputs, EngineLoad(step=num_steps, running=len(self._live))))

    def _handle(self, command: Command) -> None:
        match command:
            case Submit(request):
                for index, tokens in request.open_sequences:
                    self._live[request.request_id, index] = (request, len(tokens))
            case Abort(request_id, index):
                for key in [key for key in self._live if key[0] == request_id and index in (None, key[1])]:
                    del self._live[key]

    def _output(self, request_id: str, index: int) -> SequenceOutput:
        request, position = self._live[request_id, index]
        first, *marks = request.prompt_token_ids
        if (DIES in marks and position == 0) or (DIES_LATER in marks and position == LATER):
            os.kill(os.getpid(), signal.SIGKILL)
        if HANGS in marks:
            time.sleep(1e6)
        is_last = position + 1 == request.sampling.max_tokens
        if is_last:
            del self._live[request_id, index]
        else:
            self._live[request_id, index] = (request, position + 1)
        reason = FinishReason.LENGTH if is_last else None
        return SequenceOutput(request_id, index, (first + 1000 * index + position,), (), reason)


def main() -> None:
    """The model is a folder: its file `fingerprint` is that of the weights, and a file `broken` prevents a start."""
    frames = FrameSocket(socket.socket(fileno=int(sys.argv[1])))
    (options,) = frames.receive(wait=True)
    assert isinstance(options, EngineOptions)
    folder = Path(options.model)
    if (folder / "broken").exists():
        sys.exit(1)
    info = EngineInfo(
        model_path=folder,
        architecture="Mortal",
        dtype="float32",
        weights="",
        device="cpu",
        vocabulary_size=1 << 20,
        context_length=1 << 20,
        kv_cache_tokens=1 << 30,
        eos_token_ids=(2,),
        weights_fingerprint=(folder / "fingerprint").read_text(),
    )
    frames.send(Ready(info, EngineLoad()))
    with suppress(PeerGoneError):
        MortalEngine(frames).run()


if __name__ == "__main__":
    main()
