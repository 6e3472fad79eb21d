"""A made-up model for the scheduler: each next token is a hash of all tokens before it and the seed."""

from hashlib import blake2b

from tokenwire.engine.protocol import FinishReason, GenerationRequest, SamplingParams, TokenLogprobs
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling.blocks import BlockPool
from tokenwire.engine.scheduling.chunks import Chunking, StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler

VOCABULARY = 16
EOS = 0
FREE = Chunking()
GREEDY = SamplingParams(seed=0, max_tokens=4, ignore_eos=True)


def next_token(token_ids: list[int], seed: int) -> int:
    digest = blake2b(bytes(token_ids), digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    return int.from_bytes(digest, "big") % VOCABULARY


def unbroken(prompt: tuple[int, ...], sampling: SamplingParams) -> tuple[list[int], FinishReason]:
    """The answer of a sequence that runs alone, never preempted."""
    stop_ids = {*sampling.stop_token_ids, *(() if sampling.ignore_eos else (EOS,))}
    token_ids = list(prompt)
    for _ in range(sampling.max_tokens):
        token_ids.append(next_token(token_ids, sampling.seed))
        if token_ids[-1] in stop_ids:
            return token_ids[len(prompt) :], FinishReason.STOP
    return token_ids[len(prompt) :], FinishReason.LENGTH


def make(
    *,
    blocks: int = 64,
    block_size: int = 4,
    running: int = 4,
    tokens: int = 16,
    context: int = 64,
    chunking: Chunking = FREE,
) -> Scheduler:
    return Scheduler(
        BlockPool(blocks + 1, block_size),
        max_running=running,
        max_step_tokens=tokens,
        eos_token_ids=(EOS,),
        context_length=context,
        vocabulary_size=256,
        chunking=chunking,
    )


def request(name: str, prompt: list[int], *, n: int = 1, sampling: SamplingParams = GREEDY) -> GenerationRequest:
    return GenerationRequest(name, tuple(prompt), sampling, n)


def run(plan: StepPlan) -> StepResult:
    """The model: it sees only what the plan says."""
    samples = [
        Sample(next_token(chunk.sequence.token_ids[: chunk.end], chunk.sequence.sampling.seed))
        for chunk in plan.chunks
        if chunk.samples
    ]
    return StepResult(samples, [tuple(map(score, chunk.scored)) for chunk in plan.chunks if chunk.scored])


def score(position: int) -> TokenLogprobs:
    """Made up, and different at every position of a prompt."""
    return TokenLogprobs(-float(position))
