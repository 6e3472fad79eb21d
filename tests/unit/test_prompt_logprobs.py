"""Log-probabilities of a prompt's tokens: by the scheduler's plan, and by transformers' numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from support.inline_engine import InlineEngine
from support.made_up_model import make, request, run, score
from support.tiny import make_model
from tokenwire.engine.protocol import GenerationRequest, SamplingParams, SequenceOutput, TokenLogprobs
from tokenwire.engine.scheduling.scheduler import Scheduler

PROMPT = [7 + 13 * i % 480 for i in range(150)]
TOP = 4
SAMPLING = SamplingParams(seed=0, max_tokens=3, temperature=0, ignore_eos=True)


def scored(name: str, prompt: list[int], *, n: int = 1) -> GenerationRequest:
    return replace(request(name, prompt, n=n), prompt_logprobs=0)


def step(scheduler: Scheduler) -> tuple[SequenceOutput, ...]:
    plan = scheduler.plan(0.0)
    return scheduler.commit(plan, run(plan))


def made_up(first: int, last: int) -> tuple[TokenLogprobs, ...]:
    return tuple(map(score, range(first, last)))


def test_they_come_chunk_by_chunk_before_the_first_token() -> None:
    scheduler = make(tokens=16)
    scheduler.submit(scored("a", [1] * 40), 0.0)
    outputs = [output for _ in range(4) for output in step(scheduler)]
    assert [output.prompt_logprobs for output in outputs] == [made_up(0, 16), made_up(16, 32), made_up(32, 39), ()]
    assert [len(output.token_ids) for output in outputs] == [0, 0, 1, 1]


def test_a_prompt_of_one_token_has_none() -> None:
    scheduler = make()
    scheduler.submit(scored("a", [1]), 0.0)
    assert [output.prompt_logprobs for output in step(scheduler)] == [()]


def test_a_cached_prompt_is_computed_again_for_them() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1] * 12), 0.0)
    while scheduler.has_work:
        step(scheduler)
    scheduler.submit(scored("b", [1] * 12), 0.0)
    (output,) = step(scheduler)
    assert (output.prompt_logprobs, output.cached_tokens) == (made_up(0, 11), 0)


def test_the_first_choice_alone_has_them() -> None:
    scheduler = make()
    scheduler.submit(scored("a", [1] * 9, n=3), 0.0)
    outputs = [*step(scheduler), *step(scheduler)]
    assert [(output.index, output.prompt_logprobs) for output in outputs if output.prompt_logprobs] == [
        (0, made_up(0, 8))
    ]


def test_after_a_preemption_they_go_on_where_they_were() -> None:
    scheduler = make(tokens=16)
    scheduler.submit(scored("a", [1] * 40), 0.0)
    told = [output.prompt_logprobs for output in step(scheduler)]
    scheduler.preempt_all()
    told += [output.prompt_logprobs for _ in range(3) for output in step(scheduler)]
    assert told == [made_up(0, 16), made_up(16, 32), made_up(32, 39), ()]


def test_when_the_leader_is_aborted_the_next_one_tells_the_rest() -> None:
    scheduler = make(tokens=16)
    scheduler.submit(scored("a", [1] * 40, n=2), 0.0)
    step(scheduler)
    scheduler.abort("a", 0)
    outputs = [output for _ in range(2) for output in step(scheduler)]
    assert [(output.index, output.prompt_logprobs) for output in outputs] == [
        (1, made_up(16, 32)),
        (1, made_up(32, 39)),
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_they_are_those_of_transformers(tmp_path: Path, family: str, deterministic: bool) -> None:
    folder = make_model(tmp_path, family)
    engine = InlineEngine(folder, max_running=8, max_step_tokens=72, deterministic=deterministic)
    for number in range(6):  # others with the same beginning, before and beside it
        engine.submit(f"other {number}", PROMPT[: 40 + 20 * number], SAMPLING)
    engine.step()
    engine.submit("a", PROMPT, SAMPLING, n=2, prompt_logprobs=TOP)
    outputs = engine.run()
    entries = [entry for output in outputs["a", 0] for entry in output.prompt_logprobs]
    expected = reference(folder)
    assert [entry.logprob for entry in entries] == pytest.approx(
        expected[torch.arange(len(PROMPT) - 1), PROMPT[1:]].tolist(), abs=1e-4
    )
    values, ids = expected.topk(TOP)
    assert [[token_id for token_id, _ in entry.top] for entry in entries] == ids.tolist()
    assert [value for entry in entries for _, value in entry.top] == pytest.approx(values.flatten().tolist(), abs=1e-4)
    assert not any(output.prompt_logprobs for output in outputs["a", 1])
    assert [output.token_ids for output in outputs["a", 0] if output.token_ids] == [
        output.token_ids for output in outputs["a", 1]
    ]


def reference(folder: Path) -> torch.Tensor:
    """Log-probabilities [T − 1, V] of the token behind each position, in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPT])).logits[0, :-1]
    return torch.log_softmax(logits, -1)
