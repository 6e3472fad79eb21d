"""`tokenwire serve`: reads the options and runs the server."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import yaml
from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import Dict, Env

from tokenwire.config import (
    EngineConfig,
    LogConfig,
    ModelOptions,
    ObservabilityConfig,
    QueueConfig,
    SecurityConfig,
    ServeConfig,
    ServerConfig,
    StreamConfig,
)
from tokenwire.logs import configure_logs


def _read_yaml(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill options that neither a flag nor the environment gives from the file that `--config` names."""
    for token in arguments["--config"].tokens:
        try:
            options = yaml.safe_load(Path(token.value).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CycloptsError(msg=f"{token.value}, which --config names, cannot be read: {error}") from error
        Dict({} if options is None else options, source=token.value, use_commands_as_keys=False)(
            app, commands, arguments
        )


app = App(name="serve", config=(Env("TOKENWIRE_", command=False), _read_yaml))


@app.default
def serve(
    *,
    model: ModelOptions,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 (frozen)
    server: ServerConfig = ServerConfig(),  # noqa: B008
    queue: QueueConfig = QueueConfig(),  # noqa: B008
    streams: StreamConfig = StreamConfig(),  # noqa: B008
    security: SecurityConfig = SecurityConfig(),  # noqa: B008
    observability: ObservabilityConfig = ObservabilityConfig(),  # noqa: B008
    log: LogConfig = LogConfig(),  # noqa: B008
    config: Path | None = None,
) -> int:
    """Serve a model over gRPC and, with --http-port, over an OpenAI-compatible REST API.

    A flag wins over the environment, the environment over the file, the file over the default.

    Parameters
    ----------
    config
        YAML file with options: the names of the flags without dashes in front, such as `kv_memory: 2GiB`.
    """
    return _run(
        ServeConfig(
            model=model,
            engine=engine,
            server=server,
            queue=queue,
            streams=streams,
            security=security,
            observability=observability,
            log=log,
        )
    )


def _run(config: ServeConfig) -> int:
    try:
        # Here and not on top: help and wrong flags are then answered without the [serve] extra.
        from tokenwire.chat.call import call_fields
        from tokenwire.chat.model import ModelLoadError, ServedModel
        from tokenwire.cli.startup import banner, show_progress
        from tokenwire.engine.protocol import EngineStartError
        from tokenwire.engine.restarts import FaultPolicy
        from tokenwire.engine.supervisor import SupervisedEngine
        from tokenwire.listen import ListenError
        from tokenwire.run import run
        from tokenwire.security.watched_files import SecurityFileError
        from tokenwire.server import Server
        from tokenwire.tracing import TracingError
    except ModuleNotFoundError as error:
        return _fail(f"`tokenwire serve` needs more packages: pip install 'tokenwire[serve]' ({error})")

    async def main() -> int:
        policy = FaultPolicy(watchdog_s=config.engine.watchdog_s)
        server = Server(config, SupervisedEngine(config.engine_options, policy=policy))
        with ExitStack() as display:

            def on_ready(model: ServedModel) -> None:
                display.close()
                text = banner(
                    model,
                    host=config.server.host,
                    port=server.port,
                    http_port=server.http_port,
                    metrics=server.metrics_address,
                    channelz=server.admin_address,
                    is_encrypted=config.security.tls_cert is not None,
                )
                print(text, flush=True)

            return await run(server, on_progress=display.enter_context(show_progress()), on_ready=on_ready)

    configure_logs(level=config.log.log_level, form=config.log.log_format, context=call_fields)
    try:
        return asyncio.run(main())
    except (ListenError, EngineStartError, ModelLoadError, SecurityFileError, TracingError) as error:
        return _fail(str(error))


def _fail(message: str) -> int:
    print(f"tokenwire: {message}", file=sys.stderr)
    return 1
