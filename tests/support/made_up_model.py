"""A made-up model for the scheduler: each next token is a hash of the tokens before it and the seed."""

from dataclasses import dataclass
from hashlib import blake2b

from tokenwire.engine.protocol import FinishReason, GenerationRequest, SamplingParams, TokenLogprobs
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling.blocks import BlockPool
from tokenwire.engine.scheduling.chunks import Chunk, Chunking, StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler

VOCABULARY = 16
EOS = 0
FREE = Chunking()
GREEDY = SamplingParams(seed=0, max_tokens=4, ignore_eos=True)


@dataclass(frozen=True, slots=True)
class MadeUpModel:
    """`next_token` is a hash of the last `memory` tokens (None: of all) and the seed, below `vocabulary`."""

    memory: int | None = None
    vocabulary: int = VOCABULARY

    def next_token(self, token_ids: list[int], seed: int) -> int:
        seen = bytes(token_ids if self.memory is None else token_ids[-self.memory :])
        digest = blake2b(seen, digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
        return int.from_bytes(digest, "big") % self.vocabulary

    def unbroken(self, prompt: tuple[int, ...], sampling: SamplingParams) -> tuple[list[int], FinishReason]:
        """The answer of a sequence that runs alone, never preempted."""
        stop_ids = {*sampling.stop_token_ids, *(() if sampling.ignore_eos else (EOS,))}
        token_ids = list(prompt)
        for _ in range(sampling.max_tokens):
            token_ids.append(self.next_token(token_ids, sampling.seed))
            if token_ids[-1] in stop_ids:
                return token_ids[len(prompt) :], FinishReason.STOP
        return token_ids[len(prompt) :], FinishReason.LENGTH

    def run(self, plan: StepPlan) -> StepResult:
        """A step: it sees only what the plan says."""
        return StepResult(
            [self._samples(chunk) for chunk in plan.chunks if chunk.samples],
            [tuple(map(score, chunk.scored)) for chunk in plan.chunks if chunk.scored],
        )

    def _samples(self, chunk: Chunk) -> tuple[Sample, ...]:
        token_ids = chunk.sequence.token_ids[: chunk.end]
        samples: list[Sample] = []
        for draft in (*chunk.drafts, None):
            token_ids.append(self.next_token(token_ids, chunk.sequence.sampling.seed))
            samples.append(Sample(token_ids[-1]))
            if token_ids[-1] != draft:
                break
        return tuple(samples)


MODEL = MadeUpModel()
unbroken, run = MODEL.unbroken, MODEL.run
LOOPING = MadeUpModel(memory=1, vocabulary=4)
"""Says the same again after a few tokens, so that drafts are right."""


def make(
    *,
    blocks: int = 64,
    block_size: int = 4,
    running: int = 4,
    tokens: int = 16,
    context: int = 64,
    chunking: Chunking = FREE,
    speculation: bool = False,
) -> Scheduler:
    return Scheduler(
        BlockPool(blocks + 1, block_size),
        max_running=running,
        max_step_tokens=tokens,
        eos_token_ids=(EOS,),
        context_length=context,
        vocabulary_size=256,
        chunking=chunking,
        speculation=speculation,
    )


def request(name: str, prompt: list[int], *, n: int = 1, sampling: SamplingParams = GREEDY) -> GenerationRequest:
    return GenerationRequest(name, tuple(prompt), sampling, n)


def score(position: int) -> TokenLogprobs:
    """Made up, and different at every position of a prompt."""
    return TokenLogprobs(-float(position))
