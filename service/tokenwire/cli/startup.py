"""What `tokenwire serve` shows while it starts, and once it serves."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tokenwire import __version__
from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import Progress
from tokenwire.listen import format_address

_log = logging.getLogger(__name__)


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Takes the progress of the start: a bar where standard error is a terminal, else one log line a stage."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _stage_logger()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting the engine", total=None)

        def show(progress: Progress) -> None:
            total = None if progress.fraction is None else 1.0
            bar.update(task, description=progress.stage, total=total, completed=progress.fraction or 0.0)

        yield show


def _stage_logger() -> Callable[[Progress], None]:
    last_stage = ""

    def log(progress: Progress) -> None:
        nonlocal last_stage
        if progress.stage != last_stage:
            last_stage = progress.stage
            _log.info("%s", last_stage)

    return log


def banner(
    model: ServedModel,
    *,
    host: str,
    port: int,
    http_port: int | None,
    metrics: str | None = None,
    channelz: str | None = None,
    is_encrypted: bool = False,
) -> str:
    """What is served, and where; `metrics` and `channelz` are their addresses."""
    info = model.info
    weights = f", weights in {info.weights}" if info.weights else ""
    lines = [
        f"tokenwire {__version__} serves {model.id}",
        f"  model    {info.architecture}, {info.dtype} on {info.device}{weights}",
        f"  context  {info.context_length:,} tokens",
        f"  KV cache {info.kv_cache_tokens:,} tokens",
        f"  gRPC     {format_address(host, port)}{' over TLS' if is_encrypted else ''}",
    ]
    if metrics is not None:
        lines.append(f"  metrics  http://{metrics}/metrics")
    if channelz is not None:
        lines.append(f"  channelz {channelz}")
    if http_port is not None:
        scheme = "https" if is_encrypted else "http"
        lines.append(f"  REST     {scheme}://{format_address(host, http_port)}/v1")
    return "\n".join(lines)
