"""What the front end and an engine say to each other. Plain data and one `Protocol`; imports no torch.

A request travels as token ids. The front end sends `Submit` and `Abort`; the engine process answers with `Progress` and
`Ready` while it starts, then with one `StepFrame` for each step, for all requests at once. What a frame is made of are
named tuples: they are packed and unpacked several times as fast as frozen dataclasses, with each token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample one sequence. Values are valid already; the front end has checked them."""

    seed: int
    """int64; noise depends on the seed, the position and the token id alone."""
    max_tokens: int
    """At least 1; prompt and `max_tokens` fit the context together."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is off."""
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    """Beside the model's own end-of-text tokens."""
    top_logprobs: int | None = None
    """None: no log-probabilities; k ≥ 0: the sampled token's and those of the k most likely."""
    bad_words: tuple[bytes, ...] = ()
    """None of them is ever in the joined bytes of the generated tokens. UTF-8, not empty."""
    grammar: str | None = None
    """The generated text is constrained to this grammar of llguidance, which `Engine.check_grammar` has accepted.
    End-of-text tokens are allowed just where the text is complete, whatever `min_tokens` says."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """How far a request had come in an engine that died. Nothing of it is given again."""

    generated: tuple[tuple[int, tuple[int, ...]], ...]
    """Of each sequence that is still open, in order: its index, and the tokens that it has generated so far."""
    num_scored: int = 0
    """Prompt tokens whose log-probabilities have been told."""
    cached_tokens: int | None = None
    """What the caller was told of the first run; None: nothing yet."""
    queue_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """`n` sequences that share a prompt. Sequence `index` samples with `sampling.seed + index` (wrapping at int64)."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    n: int = 1
    priority: int = 0
    """Higher ones run first, and are the last to be preempted."""
    prompt_logprobs: int | None = None
    """None: none; k ≥ 0: log-probabilities of the prompt's tokens but the first, and of the k most likely ones."""
    resumption: Resumption | None = None
    """None: it begins."""

    @property
    def open_sequences(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Index of each sequence that is to be generated, and the tokens that it has already."""
        if self.resumption is not None:
            return self.resumption.generated
        return tuple((index, ()) for index in range(self.n))


class FinishReason(Enum):
    """Why a sequence left the engine."""

    STOP = "stop"
    """An end-of-text or stop token, which is the last token id of the output."""
    COMPLETE = "complete"
    """The grammar allows nothing more. The last token of the output is part of the text."""
    LENGTH = "length"
    ABORTED = "aborted"
    CONSTRAINT_FAILED = "constraint_failed"
    """The grammar cannot go on: bias and bad words ban every token that it allows, or it has become too complex.
    No token comes with it."""
    FAULT = "fault"
    """This sequence alone failed (non-finite logits); no token comes with it."""


class TokenLogprobs(NamedTuple):
    """Log-probabilities (natural, of the model's own distribution) at one position."""

    logprob: float
    """Of the sampled token."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability), most likely first."""


class SequenceOutput(NamedTuple):
    """What one step gave to one sequence."""

    request_id: str
    index: int  # type: ignore[assignment]  # in place of `tuple.index`
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One a token if log-probabilities were asked, else empty."""
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache when the request was first scheduled. The same in all its outputs."""
    queue_s: float = 0.0
    """Seconds from the engine's receipt of the request to the first step that worked on it. Same in all its outputs."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """Of the next prompt tokens, in prompt order. If they were asked they come, once, with outputs of the sequence of
    the lowest live index, all before its first token."""


class EngineLoad(NamedTuple):
    """The engine's figures after a step. Numbers "so far" are counted from the start of the engine process."""

    step: int = 0
    """Number of steps so far."""
    running: int = 0
    """Sequences in the batch."""
    waiting: int = 0
    """Sequences that wait for their first step, or to be recomputed."""
    free_blocks: int = 0
    """KV blocks that no sequence holds (cached ones included)."""
    total_blocks: int = 0
    preemptions: int = 0
    """Number of preemptions so far."""
    drafted_tokens: int = 0
    """Tokens that were guessed so far, for the model to check."""
    accepted_tokens: int = 0
    """Those of them that were right."""
    decode_step_s: float = 0.0
    """Estimated seconds of a step in which the running sequences decode and no prompt is computed; 0: not known yet."""
    prefill_tokens_per_s: float = 0.0
    """Estimated prompt tokens computed a second while nobody decodes; 0: not known yet."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a started engine serves."""

    model_path: Path
    """Folder with the checkpoint in Hugging Face form: config, tokenizer, template."""
    architecture: str
    dtype: str
    weights: str
    """How they are stored, such as `int4/int8`: the layers, then the last product; empty: as numbers of `dtype`."""
    device: str
    vocabulary_size: int
    """Size of the logits: valid token ids are in [0, vocabulary_size)."""
    context_length: int
    """Most tokens of prompt and answer together that the model *and* the KV cache can hold."""
    kv_cache_tokens: int
    eos_token_ids: tuple[int, ...]
    weights_fingerprint: str
    """Hexadecimal; equal weights and precision give equal values."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run an engine. All that the engine process needs, plain data."""

    model: str
    """Folder, GGUF file, or Hugging Face hub id."""
    device: str = "auto"
    dtype: str = "auto"
    weights: str = "auto"
    """How a CPU stores them: `auto`, `fp32`, `fp16`, `int8` or `int4`."""
    kv_memory_bytes: int | None = None
    """None: a share of the device's free memory. In tensor parallel, of each process."""
    max_context: int | None = None
    """Shorter context than the model's own; None: the model's."""
    max_running: int = 64
    """Most sequences in one step."""
    max_step_tokens: int = 512
    """Token budget of a step, prefill and decode together; at least `max_running` + `block_size`."""
    block_size: int = 16
    threads: int | None = None
    """CPU threads of the forward pass; None: all cores."""
    tensor_parallel: int = 1
    """Processes that share the model out among them, each on a device of its own; on a CPU they share the threads."""
    cache_dir: Path | None = None
    """Where converted checkpoints are kept; None: the user's cache folder."""
    deterministic: bool = False
    """The same request gives the same tokens, bit by bit, whatever else runs, and after a preemption or a restart."""
    speculation: bool = True
    """Guess tokens from the text so far and from grammars, and check several in a step. The tokens are the same."""
    overlap: bool | None = None
    """Send what a step gave when the next one has begun; None: where the device works by itself."""
    log_level: str = "info"
    """Least severe level that the process logs."""
    log_format: str = "text"
    """`text` or `json`."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What grammars and bad words need to know of the tokens."""

    token_bytes: tuple[bytes, ...]
    """By token id: the bytes that a token adds to the text. For special tokens their names."""
    special_token_ids: frozenset[int]
    """Tokens that are no text: a grammar allows them only where it names them."""
    eos_token_ids: tuple[int, ...]


# Front end → engine process.


@dataclass(frozen=True, slots=True)
class Submit:
    """Queue a request."""

    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class Abort:
    """Drop a request, or one sequence of it. Answered by outputs with `FinishReason.ABORTED` in the next frame."""

    request_id: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End the engine process."""


@dataclass(frozen=True, slots=True)
class SetVocabulary:
    """Comes once, before any request with a grammar or bad words."""

    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class Preempt:
    """Preempt every running sequence, as if the KV cache were full. For tests."""


Command = Submit | Abort | Shutdown | SetVocabulary | Preempt

# Engine process → front end.


@dataclass(frozen=True, slots=True)
class Progress:
    """Start-up goes on. `stage` is a short sentence for people ("converting the checkpoint")."""

    stage: str
    fraction: float | None = None
    """In [0, 1]; None where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine accepts requests."""

    info: EngineInfo
    load: EngineLoad


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The engine cannot start; `message` is for the operator (unsupported architecture, no such model, no memory)."""

    message: str


class StepFrame(NamedTuple):
    """The results of one step (or of commands handled between steps)."""

    outputs: tuple[SequenceOutput, ...] = ()
    load: EngineLoad = EngineLoad()

    def __reduce__(self) -> tuple[object, ...]:
        return ReceivedStep, (tuple(zip(*self.outputs, strict=True)), self.load)


class ReceivedStep(NamedTuple):
    """A `StepFrame` on the other side. A message an output would take either side three to five times as long."""

    columns: tuple[tuple[Any, ...], ...]
    """One a field of `SequenceOutput`; none where there are no outputs."""
    load: EngineLoad

    @property
    def outputs(self) -> tuple[SequenceOutput, ...]:
        """As they were sent."""
        return tuple(map(SequenceOutput._make, zip(*self.columns, strict=True)))


Event = Progress | Ready | StartFailed | ReceivedStep

# Front end ↔ the process that tries out grammars.


@dataclass(frozen=True, slots=True)
class Trial:
    """A grammar to try out."""

    trial_id: int
    grammar: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out of a trial."""

    trial_id: int
    refusal: str | None
    """Why the grammar cannot be enforced, for the caller; None where it can."""
    is_lasting: bool = True
    """Whether another trial would end so, too."""


class EngineState(Enum):
    """Where an engine is in its life."""

    STARTING = "starting"
    """It has never accepted a request."""
    RUNNING = "running"
    RECOVERING = "recovering"
    """It died, and not all live requests have been taken up again. New ones are accepted, and wait."""
    FAILED = "failed"
    """It died again and again without giving a token. Live requests have failed and new ones are refused; it is still
    tried, now and then."""


class EngineStartError(Exception):
    """The engine could not start; the message is for the operator."""


class GrammarError(Exception):
    """A grammar cannot be enforced; the message, for the caller, says what of it and why."""


class Generation(Protocol):
    """One live request, as the front end sees it."""

    async def receive(self) -> tuple[SequenceOutput, ...]:
        """Wait for output and return all that has come since the last call, in engine order; at least one.

        Empty where `wake()`, or `abort()` of all sequences, has ended the wait. Raises
        `tokenwire.errors.EngineFaultError`, after the last output, when the request will not be taken up again: its
        engine is stopped or `FAILED`, or the request itself is what kills it. Not to be called once all sequences
        ended.
        """
        ...

    def wake(self) -> None:
        """End a pending `receive()`; harmless where there is none."""
        ...

    def abort(self, index: int | None = None) -> int:
        """Drop one sequence, or all of them (None). Frees their memory within one step; harmless when finished.

        No output of a dropped sequence is received afterwards; returned is how many tokens had come and were not
        received. After `abort()` of all, the request is forgotten.
        """
        ...


class Engine(Protocol):
    """The seat of an engine in the front end."""

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        """Start and wait until requests are accepted. Raises `EngineStartError`."""
        ...

    async def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Tell the engine, once it has started, what the tokens are. Before it no grammar can be checked."""
        ...

    async def check_grammar(self, grammar: str) -> None:
        """See whether a grammar can be enforced. Raises `GrammarError`, also where that takes too long or too much
        memory; whatever the grammar is, no other request suffers. Grammars that were checked before cost nothing."""
        ...

    def generate(self, request: GenerationRequest) -> Generation:
        """Queue a request. Never blocks. Raises `tokenwire.errors.EngineFaultError` when the engine is stopped or
        `FAILED`."""
        ...

    @property
    def load(self) -> EngineLoad:
        """The newest figures."""
        ...

    @property
    def state(self) -> EngineState:
        """Where it is in its life."""
        ...

    async def wait_for_state(self, condition: Callable[[EngineState], bool]) -> EngineState:
        """Wait until the state meets the condition, and return it. A state that does not last may be missed."""
        ...

    @property
    def num_restarts(self) -> int:
        """How often it was started again after it had died."""
        ...

    async def stop(self) -> None:
        """End the engine; live generations fail with `EngineFaultError`. Can be called twice."""
        ...
