"""The engine's loop with overlap: the same answers as without, whatever comes while a step runs."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from support.engine_loop import LoopClient, running_loop
from support.tiny import make_model
from tokenwire.engine.protocol import (
    Abort,
    FinishReason,
    GenerationRequest,
    Preempt,
    SamplingParams,
    SequenceOutput,
    Submit,
)

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


def submit_all(client: LoopClient) -> set[tuple[str, int]]:
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
    with running_loop(folder, overlap=False) as client:
        return tokens(client.receive_until_ended(submit_all(client)))


def test_answers_are_those_of_the_loop_without_overlap(folder: Path, expected: dict[tuple[str, int], object]) -> None:
    with running_loop(folder, overlap=True) as client:
        assert tokens(client.receive_until_ended(submit_all(client))) == expected


def test_preemptions_and_aborts_while_steps_run_change_no_other_answer(
    folder: Path, expected: dict[tuple[str, int], object]
) -> None:
    with running_loop(folder, overlap=True) as client:
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
