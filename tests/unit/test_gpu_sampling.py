"""Drawing on a GPU against drawing by torch on a CPU; the kernel in Triton's interpreter where no GPU is."""

import pytest
import torch

from support.gpu import DEVICE, needs_gpu
from tokenwire.engine.protocol import SamplingParams
from tokenwire.engine.sampling.device_draw import draw_kept
from tokenwire.engine.sampling.draw import draw_kept_in_rounds
from tokenwire.engine.sampling.sampler import Sampler

WIDTH = 6016  # more than the kernel works on at once


def scores_of(z: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    uniform = torch.rand(z.shape, generator=torch.Generator().manual_seed(seed))
    return z - torch.log(-torch.log(uniform))


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_draws_what_torch_draws(seed: int) -> None:
    z = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2
    z -= z.amax(1, keepdim=True)
    weights, scores = z.exp(), scores_of(z, seed=seed)
    top_k = torch.tensor([[1], [5], [200], [WIDTH], [WIDTH]])
    mass = torch.tensor([[torch.inf], [torch.inf], [6.0], [0.9], [1e-30]])
    expected = draw_kept_in_rounds(z, scores.clone(), weights, top_k, mass)
    drawn = draw_kept(*(rows.to(DEVICE) for rows in (z, scores, weights, top_k, mass)))
    assert torch.equal(drawn[0].cpu(), expected[0])
    assert torch.equal(drawn[1].cpu(), expected[1])


def test_the_kernel_keeps_the_lowest_ids_of_equal_tokens() -> None:
    z = torch.zeros(3, 64)
    scores = torch.arange(64.0).expand(3, -1).contiguous()
    top_k = torch.tensor([[1], [10], [64]])
    mass = torch.full((3, 1), torch.inf)
    _, token = draw_kept(*(rows.to(DEVICE) for rows in (z, scores, z.exp(), top_k, mass)))
    assert token.flatten().tolist() == [0, 9, 63]


def test_the_kernel_ends_where_there_is_nothing_to_draw() -> None:
    z = torch.full((2, 64), -torch.inf)
    z[0] = torch.nan
    ones = torch.ones(2, 1)
    score, _ = draw_kept(*(rows.to(DEVICE) for rows in (z, z, z.exp(), ones.long(), ones)))
    assert score.flatten().tolist() == [-torch.inf, -torch.inf]


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_samples_the_tokens_that_a_cpu_samples() -> None:
    logits = torch.randn(8, 128256, generator=torch.Generator().manual_seed(0)) * 3
    logits[7, 5] = torch.nan
    settings = [
        SamplingParams(seed=1, max_tokens=9, temperature=0),
        SamplingParams(seed=2, max_tokens=9, temperature=1),
        SamplingParams(seed=3, max_tokens=9, temperature=0.7, top_p=0.9),
        SamplingParams(seed=4, max_tokens=9, temperature=1.3, top_k=40, top_p=0.95),
        SamplingParams(seed=5, max_tokens=9, temperature=1, min_p=0.05, top_logprobs=3),
        SamplingParams(seed=6, max_tokens=9, temperature=0.8, frequency_penalty=1, repetition_penalty=1.2),
        SamplingParams(seed=7, max_tokens=9, temperature=1, logit_bias=((3, 8.0), (4, -100.0))),
        SamplingParams(seed=8, max_tokens=9, temperature=1),
    ]
    drawn = []
    for device in (torch.device("cpu"), DEVICE):
        sampler = Sampler(vocabulary_size=logits.shape[1], max_slots=8, eos_token_ids=[2], device=device)
        for slot, params in enumerate(settings):
            sampler.assign(slot, params, [1, 2, 3])
        steps = [sampler.sample(logits.to(device), range(8)) for _ in range(4)]
        drawn.append([[sample.token_id for sample in step] for step in steps])
    assert drawn[0] == drawn[1]
    assert all(step[7] is None for step in drawn[0])
