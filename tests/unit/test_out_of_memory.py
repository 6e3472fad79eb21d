"""Steps that run out of memory: they are tried again with less, and no answer changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.engine_loop import LoopClient, running_loop
from support.mixed_requests import PROMPT, Answers, gather, mixed_requests, sequences
from support.tiny import make_model
from tokenwire.engine.memory import is_out_of_memory
from tokenwire.engine.protocol import FinishReason, GenerationRequest, SamplingParams, Submit
from tokenwire.engine.runner import ModelRunner, RunningStep
from tokenwire.engine.sampling.sample import StepResult
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.squeeze import Squeeze

REQUESTS = mixed_requests()[::2]
TIGHT: dict[str, Any] = {"max_running": 40, "max_step_tokens": 140}


class CrampedRunner(ModelRunner):
    """Lacks memory for some steps, by their plans. Every other time it notices that when it has sampled."""

    def __init__(self, runner: ModelRunner, is_too_big: Callable[[StepPlan], bool]) -> None:
        self._runner = runner
        self._is_too_big = is_too_big
        self._doomed: RunningStep | None = None
        self.num_failures = 0

    def launch(self, plan: StepPlan) -> RunningStep:
        if not self._is_too_big(plan):
            return self._runner.launch(plan)
        self.num_failures += 1
        if self.num_failures % 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self._doomed = self._runner.launch(plan)
        return self._doomed

    def finish(self, step: RunningStep) -> StepResult:
        result = self._runner.finish(step)
        if step is self._doomed:
            raise MemoryError
        return result

    def forget(self, plan: StepPlan) -> None:
        self._runner.forget(plan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def answers(client: LoopClient, requests: list[GenerationRequest]) -> Answers:
    client.send(*map(Submit, requests))
    outputs = client.receive_until_ended(sequences(requests))
    return gather(output for each in outputs.values() for output in each)


@pytest.fixture(scope="module")
def expected(folder: Path) -> Answers:
    with running_loop(folder, **TIGHT) as client:
        return answers(client, REQUESTS)


@pytest.mark.parametrize("overlap", [False, True])
def test_answers_are_those_of_an_engine_with_enough(folder: Path, expected: Answers, overlap: bool) -> None:
    cramped: list[CrampedRunner] = []

    def wrap(runner: ModelRunner) -> ModelRunner:
        cramped.append(CrampedRunner(runner, lambda plan: len(plan.chunks) > 5 or plan.num_tokens > 110))
        return cramped[0]

    with running_loop(folder, wrap=wrap, overlap=overlap, **TIGHT) as client:
        assert answers(client, REQUESTS) == expected
    assert cramped[0].num_failures  # how many depends on how the steps fell, which depends on their times


def test_a_sequence_that_fits_no_step_fails_alone(folder: Path) -> None:
    def is_too_big(plan: StepPlan) -> bool:
        return any(chunk.sequence.request_id == "big" for chunk in plan.chunks)

    sampling = SamplingParams(seed=1, max_tokens=40, ignore_eos=True)
    others = [GenerationRequest(f"{number}", PROMPT, replace(sampling, seed=number)) for number in range(4)]
    big = GenerationRequest("big", PROMPT, sampling)
    with running_loop(folder, **TIGHT) as client:
        expected = answers(client, others)
    with running_loop(folder, wrap=lambda runner: CrampedRunner(runner, is_too_big), **TIGHT) as client:
        found = dict(answers(client, [*others[:2], big, *others[2:]]))
    assert found.pop(("big", 0)).finish_reason is FinishReason.FAULT
    assert found == expected


def test_bounds_shrink_to_a_step_of_one_sequence_and_grow_back() -> None:
    squeeze = Squeeze(most_running=64, most_tokens=512, least_tokens=16)
    seen = []
    while not squeeze.is_least:
        squeeze.note_failure(running=40, tokens=squeeze.max_tokens)
        seen.append((squeeze.max_running, squeeze.max_tokens))
    assert seen == [(20, 256), (10, 128), (5, 64), (2, 32), (1, 17)]
    for _ in range(32 * 6):
        squeeze.note_success()
    assert (squeeze.max_running, squeeze.max_tokens) == (64, 512)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError("no memory for the activations of 5 tokens"), True),
        (torch.OutOfMemoryError("Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_looks_like(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_torch_says_so_of_a_tensor_that_no_machine_holds() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.int8)
    assert is_out_of_memory(caught.value)
