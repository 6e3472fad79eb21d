"""The server: gRPC and, where asked, REST on one chat service over one engine."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from operator import is_not

from tokenwire.chat.live.reader import ReaderLimits
from tokenwire.chat.live.retention import RetentionLimits
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.config import ServeConfig
from tokenwire.engine.protocol import Engine, Progress
from tokenwire.listen import listen
from tokenwire.observability import Observability
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer
from tokenwire.rpc.admin import AdminServer
from tokenwire.rpc.server import RpcServer
from tokenwire.security.security import Security

_log = logging.getLogger(__name__)

# After the last event of the last completion: its status still has to go out.
LAST_STATUS_S = 1.0


class Server:
    """Call `start`, then `drain` for a graceful end, then `stop`, whatever `start` did."""

    def __init__(self, config: ServeConfig, engine: Engine) -> None:
        limits, streams = config.server, config.streams
        self.engine = engine
        self._observability = Observability(
            config.observability, model=config.model.name, load=lambda: self.service.load
        )
        self.service = ChatService(
            engine,
            max_queue=config.queue.max_queue,
            max_queue_tokens=config.queue.max_queue_tokens,
            max_running=config.engine.max_running,
            max_request_bytes=limits.max_message_bytes,
            max_stored=limits.max_stored,
            stored_for_s=limits.stored_for_s,
            retention=RetentionLimits(
                default_s=streams.retain_for_s, max_s=streams.max_retain_for_s, max_bytes=streams.max_retained_bytes
            ),
            readers=ReaderLimits(
                heartbeat_s=streams.heartbeat_s,
                max_unread_bytes=streams.max_unread_bytes,
                max_write_s=streams.max_write_s,
            ),
            observers=self._observability.completions,
            log_prompts=config.log.log_prompts,
        )
        self.port = limits.port
        """gRPC port; the real one once started."""
        self.http_port = limits.http_port
        """REST port, likewise; None without REST."""
        self.admin_address: str | None = None
        """Of channelz, once started; None without it."""
        self._config = config
        self._security = Security(config.security)
        self._rpc = RpcServer(
            self.service,
            limits,
            access=self._security.access,
            tls=self._security.tls,
            reflection=config.security.reflection,
            observers=self._observability.calls,
        )
        self._admin: AdminServer | None = None
        self._rest: RestServer | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def metrics_address(self) -> str | None:
        """Where the metrics are, once started; None without them."""
        return self._observability.metrics_address

    async def start(self, on_progress: Callable[[Progress], None]) -> ServedModel:
        """Listen, start the engine, load the tokenizer, serve. Until then requests get MODEL_LOADING.

        Raises `ListenError`, `EngineStartError` or `ModelLoadError`, each with a message for the operator.
        """
        self._security.warn(host=self._config.server.host)
        self._security.start()
        self.port = await self._rpc.start()
        if (admin_port := self._config.security.admin_port) is not None:
            self._admin = AdminServer(admin_port)
            self.admin_address = await self._admin.start()
        self._observability.start()
        if self.http_port is not None:
            self.http_port = self._start_rest(self.http_port)
        begun_s = time.monotonic()
        info = await self.engine.start(on_progress)
        start_s = time.monotonic() - begun_s
        options = self._config.model
        on_progress(Progress("loading the tokenizer"))
        model = await asyncio.to_thread(
            ServedModel.load,
            options.name,
            info,
            chat_template=options.chat_template,
            tool_syntax=options.tool_syntax,
            deterministic=self._config.engine.deterministic,
            generation_config=options.generation_config,
        )
        await self.engine.set_vocabulary(model.vocabulary())
        self.service.open(model, start_s=start_s)
        await self._tell_health()
        self._following = asyncio.create_task(self._follow_engine())
        return model

    async def drain(self) -> None:
        """Refuse new requests and wait until the live ones have finished, at most `drain_grace_s` seconds."""
        grace_s = self._config.server.drain_grace_s
        self.service.drain(grace_s=grace_s)
        await self._tell_health()
        try:
            await asyncio.wait_for(self.service.wait_idle(), grace_s)
        except TimeoutError:
            if self.service.active:  # a grace time of 0 is over even where nobody needs it
                _log.warning("%d completions are cut off: the drain grace time is over", self.service.active)

    async def stop(self) -> None:
        """Close the ports and end the engine. Completions that are still live fail with `DrainingError`."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._rpc.health.set_serving(False)
        self.service.cut_off()
        await self._rpc.stop(LAST_STATUS_S)
        if self._rest is not None:
            await self._rest.stop()
        if self._admin is not None:
            await self._admin.stop()
        await self._security.stop()
        await self._observability.stop()
        await self.engine.stop()

    async def _follow_engine(self) -> None:
        """An engine that dies again and again takes readiness away, and one that is back gives it again."""
        state = self.engine.state
        while True:
            await self._tell_health()
            state = await self.engine.wait_for_state(partial(is_not, state))

    async def _tell_health(self) -> None:
        await self._rpc.health.set_serving(self.service.state.takes_requests)

    def _start_rest(self, port: int) -> int:
        listener = listen(self._config.server.host, port)
        limits, tls = self._config.server, self._security.tls
        app = create_app(
            self.service,
            max_body_bytes=limits.max_message_bytes,
            access=self._security.access,
            observers=self._observability.calls,
            cors_origins=limits.cors_origins,
            strict_fields=limits.strict_fields,
            playground=limits.playground,
            grpc_port=self.port,
            metrics=self._observability.metrics.render_without_keys,
        )
        self._rest = RestServer(app, listener, max_connections=limits.max_connections, tls=tls)
        self._rest.start()
        bound_port: int = listener.getsockname()[1]
        return bound_port
