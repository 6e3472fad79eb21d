"""The real engine without its process: tests submit, step and look inside."""

import time
from collections.abc import Sequence
from pathlib import Path

from tokenwire.engine.assembly import build_engine
from tokenwire.engine.grammar.compiler import GrammarCompiler
from tokenwire.engine.protocol import (
    EngineInfo,
    EngineOptions,
    GenerationRequest,
    SamplingParams,
    SequenceOutput,
    Vocabulary,
)


class InlineEngine:
    """Scheduler, model and sampler, stepped by hand; with exact weights where none are asked."""

    def __init__(self, folder: Path, **options: object) -> None:
        engine = build_engine(
            EngineOptions(model=str(folder), **{"device": "cpu", "weights": "fp32", **options}),  # type: ignore[arg-type]
            on_progress=lambda progress: None,
        )
        self.info: EngineInfo = engine.info
        self.scheduler = engine.scheduler
        self._runner = engine.runner
        self._sampler = engine.sampler
        self._compiler: GrammarCompiler | None = None

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Say what the tokens are, before a request has a grammar or bad words."""
        self._compiler = self._sampler.set_vocabulary(vocabulary)

    def submit(
        self,
        request_id: str,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        n: int = 1,
        prompt_logprobs: int | None = None,
    ) -> None:
        """Queue a request."""
        request = GenerationRequest(request_id, tuple(prompt), sampling, n, prompt_logprobs=prompt_logprobs)
        grammar = None
        if sampling.grammar is not None:
            assert self._compiler is not None, "a grammar needs a vocabulary"
            grammar = self._compiler.compile(sampling.grammar)
        self.scheduler.submit(request, time.monotonic(), grammar)

    def step(self, *, is_timed: bool = False) -> tuple[SequenceOutput, ...]:
        """One step of all requests. If it is timed, the cuts of later prompts depend on how long steps take."""
        start_s = time.monotonic()
        plan = self.scheduler.plan(start_s)
        outputs = self.scheduler.commit(plan, self._runner.run(plan))
        if is_timed:
            self.scheduler.observe(plan, time.monotonic() - start_s)
        return outputs

    def run(self) -> dict[tuple[str, int], list[SequenceOutput]]:
        """Step until nothing is left to do; the outputs by (request id, index)."""
        outputs: dict[tuple[str, int], list[SequenceOutput]] = {}
        while self.scheduler.has_work:
            for output in self.step():
                outputs.setdefault((output.request_id, output.index), []).append(output)
        return outputs


def token_ids(outputs: Sequence[SequenceOutput]) -> list[int]:
    """The tokens of one sequence's outputs."""
    return [token_id for output in outputs for token_id in output.token_ids]
