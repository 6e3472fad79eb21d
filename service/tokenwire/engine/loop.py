"""The engine's main loop, and the assembly of its parts."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from tokenwire.cache import default_cache_dir
from tokenwire.engine.grammar.compiler import Grammar
from tokenwire.engine.grammar.pool import GrammarPool
from tokenwire.engine.model.architecture import architecture_name, context_limit, load_config
from tokenwire.engine.model.checkpoint import eos_token_ids, resolve_checkpoint, weights_fingerprint
from tokenwire.engine.model.device import (
    checkpoint_dtype,
    choose_device,
    make_deterministic,
    quiet_libraries,
    requested_dtype,
)
from tokenwire.engine.model.kv_cache import count_blocks
from tokenwire.engine.model.loading import load_model
from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.model.parallel.group import found_group
from tokenwire.engine.model.parallel.limits import check_options
from tokenwire.engine.model.parallel.loading import load_parallel, smallest_memory
from tokenwire.engine.protocol import (
    Abort,
    Command,
    EngineInfo,
    EngineLoad,
    EngineOptions,
    EngineStartError,
    FinishReason,
    GenerationRequest,
    GrammarError,
    Preempt,
    Progress,
    SequenceOutput,
    SetVocabulary,
    Shutdown,
    StepFrame,
    Submit,
)
from tokenwire.engine.runner import ModelRunner
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.blocks import BlockPool
from tokenwire.engine.scheduling.chunks import Chunking, check_step_budget
from tokenwire.engine.scheduling.scheduler import Scheduler
from tokenwire.engine.wire import FrameSocket

logger = logging.getLogger("tokenwire.engine")


@dataclass(slots=True)
class _Compiling:
    """A request that is not in line yet, for its grammar is being compiled."""

    request: GenerationRequest
    arrival_s: float
    grammar: Future[Grammar]
    dropped: set[int] = field(default_factory=set)
    """Sequences that were aborted meanwhile."""


class EngineLoop:
    """Takes commands, steps, and sends one frame a step."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: ModelRunner,
        sampler: Sampler,
        frames: FrameSocket,
        *,
        overlap: bool = False,
    ) -> None:
        """With `overlap`, what a step gave is sent when the next one has begun: for a device that works by itself."""
        self._scheduler = scheduler
        self._runner = runner
        self._sampler = sampler
        self._frames = frames
        self._overlap = overlap
        self._grammars: GrammarPool | None = None
        self._compiling: dict[str, _Compiling] = {}
        self._num_steps = 0

    @property
    def load(self) -> EngineLoad:
        """The figures now."""
        return self._scheduler.load(self._num_steps)

    def run(self) -> None:
        """Step until the front end says `Shutdown`; while there is nothing to do, wait for a command or a grammar."""
        outputs: list[SequenceOutput] = []  # that are still to be sent
        while True:
            is_idle = not self._scheduler.has_work and not outputs
            for command in self._frames.receive(wait=is_idle, beside=self._grammars):
                if isinstance(command, Shutdown):
                    if self._grammars is not None:
                        self._grammars.close()
                    return
                outputs += self._handle(command)
            outputs += self._submit_compiled()
            finish = self._launch() if self._scheduler.has_work else tuple
            if not self._overlap:
                outputs += finish()
                finish = tuple
            self._frames.send(StepFrame(tuple(outputs), self.load))
            outputs = [*finish()]

    def _handle(self, command: Command) -> tuple[SequenceOutput, ...]:
        match command:
            case Submit(request):
                return self._submit(request, time.monotonic())
            case Abort(request_id, index):
                return self._abort(request_id, index)
            case SetVocabulary(vocabulary):
                self._grammars = GrammarPool(self._sampler.set_vocabulary(vocabulary))
            case Preempt():
                self._scheduler.preempt_all()
            case _:
                raise TypeError(f"unknown command {command!r}")
        return ()

    def _submit(self, request: GenerationRequest, now: float) -> tuple[SequenceOutput, ...]:
        try:
            if (request.sampling.grammar is not None or request.sampling.bad_words) and self._grammars is None:
                raise ValueError("grammars and bad words need a vocabulary")
            if request.sampling.grammar is not None and self._grammars is not None:
                compiled = self._grammars.compile(request.sampling.grammar)
                self._compiling[request.request_id] = _Compiling(request, now, compiled)
            else:
                self._scheduler.submit(request, now)
        except ValueError:
            # The front end lets no such request through. If it does, the others must not pay for it.
            logger.exception("refused request %s", request.request_id)
            return _ended(request, FinishReason.FAULT)
        return ()

    def _submit_compiled(self) -> tuple[SequenceOutput, ...]:
        """Put the requests in line whose grammars are ready."""
        if self._grammars is not None:
            self._grammars.drain()
        outputs: list[SequenceOutput] = []
        for waiting in [waiting for waiting in self._compiling.values() if waiting.grammar.done()]:
            request = waiting.request
            del self._compiling[request.request_id]
            try:
                self._scheduler.submit(request, waiting.arrival_s, waiting.grammar.result())
            except GrammarError:
                logger.exception("the grammar of request %s was accepted and does not compile", request.request_id)
                outputs += _ended(request, FinishReason.CONSTRAINT_FAILED)
            except ValueError:
                logger.exception("refused request %s", request.request_id)
                outputs += _ended(request, FinishReason.FAULT)
            for index in waiting.dropped:
                outputs += self._scheduler.abort(request.request_id, index)
        return tuple(outputs)

    def _abort(self, request_id: str, index: int | None) -> tuple[SequenceOutput, ...]:
        waiting = self._compiling.get(request_id)
        if waiting is None:
            return self._scheduler.abort(request_id, index)
        if index is None:
            del self._compiling[request_id]
            return _ended(waiting.request, FinishReason.ABORTED)
        waiting.dropped.add(index)  # and told when the request is in line
        return ()

    def _launch(self) -> Callable[[], tuple[SequenceOutput, ...]]:
        """Begin a step; what is returned ends it. No command may be handled in between."""
        start_s = time.monotonic()
        plan = self._scheduler.plan(start_s)
        step = self._runner.launch(plan)

        def finish() -> tuple[SequenceOutput, ...]:
            result = self._runner.finish(step)
            self._num_steps += 1
            outputs = self._scheduler.commit(plan, result)
            self._scheduler.observe(plan, time.monotonic() - start_s)
            return outputs

        return finish


def _ended(request: GenerationRequest, reason: FinishReason) -> tuple[SequenceOutput, ...]:
    """The end of all sequences of a request that never ran."""
    return tuple(SequenceOutput(request.request_id, index, finish_reason=reason) for index in range(request.n))


@dataclass(frozen=True, slots=True)
class AssembledEngine:
    """The parts of a loaded engine."""

    scheduler: Scheduler
    runner: ModelRunner
    sampler: Sampler
    info: EngineInfo
    overlap: bool
    """As `EngineLoop` has it."""


@torch.inference_mode()
def build_engine(
    options: EngineOptions, *, on_progress: Callable[[Progress], None], followers: Followers | None = None
) -> AssembledEngine:
    """Find, load and check the model and allocate its cache. Raises `EngineStartError`.

    `followers`, in tensor parallel, are the processes of the other ranks.
    """
    quiet_libraries()
    chunking = Chunking.fixed(options.block_size) if options.deterministic else Chunking()
    _check_options(options, chunking)
    if options.deterministic:
        make_deterministic()
    device = choose_device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if followers is not None:
        device = found_group(followers, device)
    cache_dir = options.cache_dir or default_cache_dir()
    requested = requested_dtype(options.dtype, device)
    folder = resolve_checkpoint(
        options.model,
        gguf_dtype=requested or torch.bfloat16,
        cache_dir=cache_dir,
        on_progress=on_progress,
    )
    config = load_config(folder)
    dtype = requested or checkpoint_dtype(config)
    on_progress(Progress("loading the weights"))
    if followers is None:
        model = load_model(
            folder,
            config,
            dtype=dtype,
            device=device,
            kernel_dir=cache_dir / "kernels",
            deterministic=options.deterministic,
            weights=options.weights,
        )
        memory_bytes = options.kv_memory_bytes
    else:
        model = load_parallel(
            folder, config, dtype=dtype, device=device, kernel_dir=cache_dir / "kernels", followers=followers
        )
        memory_bytes = options.kv_memory_bytes or smallest_memory(followers, device)
    model.stabilise(most_rows=options.max_step_tokens)
    context_length = min(context_limit(config), options.max_context or context_limit(config))
    num_blocks = count_blocks(
        model.layers,
        block_size=options.block_size,
        dtype=dtype,
        device=device,
        memory_bytes=memory_bytes,
        context_length=context_length,
        max_running=options.max_running,
    )
    kv_cache_tokens = (num_blocks - 1) * options.block_size
    context_length = min(context_length, kv_cache_tokens)
    on_progress(Progress(f"allocating a key-value cache of {kv_cache_tokens} tokens"))
    model.attach(num_blocks=num_blocks, block_size=options.block_size)
    eos = eos_token_ids(folder)
    scheduler = Scheduler(
        BlockPool(num_blocks, options.block_size),
        max_running=options.max_running,
        max_step_tokens=options.max_step_tokens,
        eos_token_ids=eos,
        context_length=context_length,
        vocabulary_size=model.vocabulary_size,
        chunking=chunking,
        speculation=options.speculation,
    )
    sampler = Sampler(
        vocabulary_size=model.vocabulary_size,
        max_slots=options.max_running,
        eos_token_ids=eos,
        device=device,
        looks_ahead=options.speculation,
    )
    info = EngineInfo(
        model_path=folder,
        architecture=architecture_name(config),
        dtype=str(dtype).removeprefix("torch."),
        weights=model.weights,
        device=str(device),
        vocabulary_size=model.vocabulary_size,
        context_length=context_length,
        kv_cache_tokens=kv_cache_tokens,
        eos_token_ids=eos,
        weights_fingerprint=weights_fingerprint(folder, dtype=dtype, weights=model.weights),
    )
    runner = ModelRunner(model, sampler, block_size=options.block_size, chunking=chunking)
    overlap = device.type == "cuda" if options.overlap is None else options.overlap
    return AssembledEngine(scheduler, runner, sampler, info, overlap)


def _check_options(options: EngineOptions, chunking: Chunking) -> None:
    """Tell at once what would else be told after minutes of loading."""
    if options.tensor_parallel > 1:
        check_options(options)
    try:
        check_step_budget(
            options.max_step_tokens,
            max_running=options.max_running,
            block_size=options.block_size,
            chunking=chunking,
        )
    except ValueError as error:
        raise EngineStartError(str(error)) from None
