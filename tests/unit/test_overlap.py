"""The engine's loop with overlap: the same answers as without, whatever comes while a step runs."""

import json
import select
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support.tiny import make_model, vocabulary_of
from tokenwire.engine.assembly import AssembledEngine, build_engine
from tokenwire.engine.loop import EngineLoop
from tokenwire.engine.protocol import (
    Abort,
    Command,
    EngineOptions,
    FinishReason,
    GenerationRequest,
    Preempt,
    SamplingParams,
    SequenceOutput,
    SetVocabulary,
    Shutdown,
    Submit,
)
from tokenwire.engine.wire import FrameSocket

WAIT_S = 60
PROMPT = (*range(20, 45), 20, 21, 22)
PLAIN = SamplingParams(seed=1, max_tokens=40, ignore_eos=True, top_logprobs=1)
REQUESTS = {
    "plain": PLAIN,
    "repeating": replace(PLAIN, logit_bias=((30, 30.0), (31, 30.0))),
    "grammar": replace(PLAIN, grammar=f"start: %json {json.dumps({'enum': ['one', 'two', 'three']})}"),
    "short": replace(PLAIN, max_tokens=1),
}
LONG = replace(PLAIN, max_tokens=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


class Client:
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

    def receive_until_ended(self, live: set[tuple[str, int]]) -> dict[tuple[str, int], list[SequenceOutput]]:
        """All outputs, up to the end of these sequences."""
        outputs: dict[tuple[str, int], list[SequenceOutput]] = defaultdict(list)
        while live:
            for output in self.receive():
                key = output.request_id, output.index
                outputs[key].append(output)
                if output.finish_reason is not None:
                    live = live - {key}
        return outputs


@contextmanager
def serving(folder: Path, *, overlap: bool) -> Iterator[Client]:
    """A loop in a thread, which has ended and holds nothing afterwards."""
    options = EngineOptions(model=str(folder), device="cpu", deterministic=True, overlap=overlap)
    engine = build_engine(options, on_progress=lambda progress: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = EngineLoop(engine.scheduler, engine.runner, engine.sampler, FrameSocket(theirs), overlap=engine.overlap)
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        client = Client(engine, ours)
        client.send(SetVocabulary(vocabulary_of(folder, engine.info)))
        yield client
        client.send(Shutdown())
        thread.join(WAIT_S)
        assert not thread.is_alive()
    engine.scheduler.check_integrity()
    load = engine.scheduler.load(0)
    assert (load.running, load.waiting, load.free_blocks) == (0, 0, load.total_blocks)


def submit_all(client: Client) -> set[tuple[str, int]]:
    for name, sampling in REQUESTS.items():
        client.send(Submit(GenerationRequest(name, PROMPT, sampling, n=2)))
    return {(name, index) for name in REQUESTS for index in range(2)}


def tokens(outputs: dict[tuple[str, int], list[SequenceOutput]]) -> dict[tuple[str, int], object]:
    return {
        (name, index): (
            [token_id for output in each for token_id in output.token_ids],
            [logprobs for output in each for logprobs in output.logprobs],
            each[-1].finish_reason,
        )
        for (name, index), each in outputs.items()
        if name in REQUESTS
    }


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[tuple[str, int], object]:
    with serving(folder, overlap=False) as client:
        return tokens(client.receive_until_ended(submit_all(client)))


def test_answers_are_those_of_the_loop_without_overlap(folder: Path, expected: dict[tuple[str, int], object]) -> None:
    with serving(folder, overlap=True) as client:
        assert tokens(client.receive_until_ended(submit_all(client))) == expected


def test_preemptions_and_aborts_while_steps_run_change_no_other_answer(
    folder: Path, expected: dict[tuple[str, int], object]
) -> None:
    with serving(folder, overlap=True) as client:
        dropped = [(f"dropped {number}", index) for number in range(6) for index in range(2)]
        for number in range(6):
            client.send(Submit(GenerationRequest(f"dropped {number}", PROMPT, LONG, n=2)))
        live = submit_all(client)
        outputs: dict[tuple[str, int], list[SequenceOutput]] = defaultdict(list)
        for name, index in dropped:
            for output in client.receive():
                outputs[output.request_id, output.index].append(output)
            client.send(Preempt(), Abort(name, index))
        rest = client.receive_until_ended(
            {*live, *dropped} - {key for key in outputs if outputs[key][-1].finish_reason}
        )
        for key, more in rest.items():
            outputs[key] += more
        assert tokens(outputs) == expected
        assert {outputs[key][-1].finish_reason for key in dropped} == {FinishReason.ABORTED}
        assert client.engine.scheduler.load(0).preemptions > 0
