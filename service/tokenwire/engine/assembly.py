"""The assembly of an engine from its options: the model is loaded and checked, its cache allocated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from tokenwire.cache import default_cache_dir
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
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.model.parallel.group import found_group
from tokenwire.engine.model.parallel.limits import check_options
from tokenwire.engine.model.parallel.loading import load_parallel, smallest_memory
from tokenwire.engine.protocol import EngineInfo, EngineOptions, EngineStartError, Progress
from tokenwire.engine.runner import ModelRunner
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.blocks import BlockPool
from tokenwire.engine.scheduling.chunks import Chunking, check_step_budget
from tokenwire.engine.scheduling.scheduler import Scheduler

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class AssembledEngine:
    """The parts of a loaded engine."""

    scheduler: Scheduler
    runner: ModelRunner
    sampler: Sampler
    info: EngineInfo
    overlap: bool
    """As `EngineLoop` has it."""


@dataclass(frozen=True, slots=True)
class _LoadedModel:
    """A model that can compute as soon as it has a cache."""

    paged: PagedModel
    folder: Path
    config: PreTrainedConfig
    dtype: torch.dtype
    kv_memory_bytes: int | None
    """For the cache, None: a share of the device's."""


@torch.inference_mode()
def build_engine(
    options: EngineOptions, *, on_progress: OnProgress, followers: Followers | None = None
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
    model = _load(options, device, on_progress=on_progress, followers=followers)
    model.paged.stabilise(most_rows=options.max_step_tokens)
    num_blocks = _allocate_cache(model, options, on_progress=on_progress)
    info = _describe(model, options, kv_cache_tokens=(num_blocks - 1) * options.block_size)
    scheduler = Scheduler(
        BlockPool(num_blocks, options.block_size),
        max_running=options.max_running,
        max_step_tokens=options.max_step_tokens,
        eos_token_ids=info.eos_token_ids,
        context_length=info.context_length,
        vocabulary_size=info.vocabulary_size,
        chunking=chunking,
        speculation=options.speculation,
    )
    sampler = Sampler(
        vocabulary_size=info.vocabulary_size,
        max_slots=options.max_running,
        eos_token_ids=info.eos_token_ids,
        device=device,
        looks_ahead=options.speculation,
    )
    runner = ModelRunner(model.paged, sampler, block_size=options.block_size, chunking=chunking)
    overlap = device.type == "cuda" if options.overlap is None else options.overlap
    return AssembledEngine(scheduler, runner, sampler, info, overlap)


def _load(
    options: EngineOptions, device: torch.device, *, on_progress: OnProgress, followers: Followers | None
) -> _LoadedModel:
    cache_dir = options.cache_dir or default_cache_dir()
    kernel_dir = cache_dir / "kernels"
    requested = requested_dtype(options.dtype, device)
    folder = resolve_checkpoint(
        options.model, gguf_dtype=requested or torch.bfloat16, cache_dir=cache_dir, on_progress=on_progress
    )
    config = load_config(folder)
    dtype = requested or checkpoint_dtype(config)
    on_progress(Progress("loading the weights"))
    if followers is not None:
        paged = load_parallel(folder, config, dtype=dtype, device=device, kernel_dir=kernel_dir, followers=followers)
        return _LoadedModel(paged, folder, config, dtype, options.kv_memory_bytes or smallest_memory(followers, device))
    paged = load_model(
        folder,
        config,
        dtype=dtype,
        device=device,
        kernel_dir=kernel_dir,
        deterministic=options.deterministic,
        weights=options.weights,
    )
    return _LoadedModel(paged, folder, config, dtype, options.kv_memory_bytes)


def _allocate_cache(model: _LoadedModel, options: EngineOptions, *, on_progress: OnProgress) -> int:
    """Number of its blocks."""
    num_blocks = count_blocks(
        model.paged.layers,
        block_size=options.block_size,
        dtype=model.dtype,
        device=model.paged.device,
        memory_bytes=model.kv_memory_bytes,
        context_length=_most_context(model, options),
        max_running=options.max_running,
    )
    on_progress(Progress(f"allocating a key-value cache of {(num_blocks - 1) * options.block_size} tokens"))
    model.paged.attach(num_blocks=num_blocks, block_size=options.block_size)
    return num_blocks


def _most_context(model: _LoadedModel, options: EngineOptions) -> int:
    limit = context_limit(model.config)
    return min(limit, options.max_context or limit)


def _describe(model: _LoadedModel, options: EngineOptions, *, kv_cache_tokens: int) -> EngineInfo:
    paged = model.paged
    return EngineInfo(
        model_path=model.folder,
        architecture=architecture_name(model.config),
        dtype=str(model.dtype).removeprefix("torch."),
        weights=paged.weights,
        device=str(paged.device),
        vocabulary_size=paged.vocabulary_size,
        context_length=min(_most_context(model, options), kv_cache_tokens),
        kv_cache_tokens=kv_cache_tokens,
        eos_token_ids=eos_token_ids(model.folder),
        weights_fingerprint=weights_fingerprint(model.folder, dtype=model.dtype, weights=paged.weights),
    )


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
