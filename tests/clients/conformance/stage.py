"""Plays one case: the real front end with the scripted engine, a proxy that cuts connections, and a driver."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict

from chaos.cutting_proxy import CuttingProxy
from clients.conformance import seen, verdict
from clients.conformance.case import FILLER, Before, Call, Case, ServerSetup, filler, replaced
from clients.conformance.driver import Driver
from clients.conformance.messages import Command, Connection
from clients.conformance.script import ScriptWriter
from clients.conformance.twists import RUNNER, StatusTwister, Twister
from support.fake_engine import FakeEngine, make_info
from support.server import TIMEOUT_S, ignore_progress
from support.tiny import make_tokenizer
from tokenwire.config import EngineConfig, ModelOptions, SecurityConfig, ServeConfig, ServerConfig, StreamConfig
from tokenwire.engine.protocol import EngineLoad
from tokenwire.security.key_file import add_key
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import CancelChatCompletionRequest, ChatCompletionRequest
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

FOREVER_BYTES = 1 << 60
REASONING_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Files:
    """What servers are started with: made once."""

    folder: Path
    """Tokenizers are in it, keys and certificates are written to it."""
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def tokenizer(self) -> Path:
        """Folder of a model without reasoning."""
        return self._made("plain", None)

    @property
    def reasoning_tokenizer(self) -> Path:
        """Folder of one with it."""
        return self._made("reasoning", REASONING_TEMPLATE)

    def _made(self, name: str, template: str | None) -> Path:
        folder = self.folder / name
        if not folder.exists():
            make_tokenizer(folder, **({} if template is None else {"chat_template": template}))
        return folder


@dataclass(slots=True)
class Play:
    """A case on the stage."""

    engine: FakeEngine
    twister: Twister
    server: Server
    connection: Any
    """For the command."""
    known: dict[str, str] = field(default_factory=dict)
    """What stands for `$id` and its like."""


async def play(case: Case, driver: Driver, files: Files) -> None:
    """Run a case. Raises `AssertionError` with all that is wrong."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(_open(case, files))
        await _before(case, stage, stack)
        command = _command(case.call, stage)
        result = await driver.run(command)
        found = list(verdict.problems(case, result, stage.twister.calls, stage.known))
        found += await seen.problems(case, stage.engine, stage.twister.calls, command)
    assert not found, "\n\n".join([f"{case.name}: the call was {case.call}", *found])


@asynccontextmanager
async def _open(case: Case, files: Files) -> AsyncIterator[Play]:
    setup = case.server
    folder = files.reasoning_tokenizer if setup.template == "reasoning" else files.tokenizer
    engine = FakeEngine(info=make_info(folder), refusal=lambda grammar: setup.refuses_grammars or None)
    if setup.decode_step_s is not None:
        engine.load = EngineLoad(decode_step_s=setup.decode_step_s, prefill_tokens_per_s=1e6)
    async with AsyncExitStack() as stack:
        proxy: CuttingProxy | None = None
        twister = Twister(
            case.twist,
            cut=lambda for_good: proxy.cut(for_good=for_good) if proxy else None,
            cancel=lambda id_: server.service.cancel(CancelChatCompletionRequest(completion_id=id_)),
        )
        engine.script = ScriptWriter(engine, sent=twister.sent.__getitem__).script(case.engine)
        key, config = _config(setup, files)
        with _interceptors(StatusTwister(case.twist), twister):
            server = Server(config, engine)
        stack.push_async_callback(server.stop)
        await server.start(ignore_progress)
        target = f"127.0.0.1:{server.port}"
        if case.twist.cut is not None:
            proxy = await stack.enter_async_context(CuttingProxy(target, num_bytes=lambda: FOREVER_BYTES))
            target = proxy.target
        connection = Connection(target=target, api_key=case.call.api_key.replace("$key", key), **_pems(setup, files))
        yield Play(engine, twister, server, connection)


def _config(setup: ServerSetup, files: Files) -> tuple[str, ServeConfig]:
    """The one API key, if there is any, and the options."""
    security, key = SecurityConfig(), ""
    if setup.key is not None:
        file = files.folder / "keys.yaml"
        file.write_text("")
        key = add_key(file, "alice", dict(setup.key))
        security = SecurityConfig(api_keys=file)
    if setup.tls:
        cert, cert_key, ca = (files.folder / name for name in ("cert.pem", "key.pem", "ca.pem"))
        leaf = files.authority.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(cert_key)
        cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        files.authority.cert_pem.write_to_path(ca)
        security = SecurityConfig(tls_cert=cert, tls_key=cert_key, tls_client_ca=ca if setup.tls == "mutual" else None)
    streams = StreamConfig() if setup.heartbeat_s is None else StreamConfig(heartbeat_s=setup.heartbeat_s)
    engine = EngineConfig() if setup.max_running is None else EngineConfig(max_running=setup.max_running)
    model, limits = ModelOptions(model="tiny"), ServerConfig(port=0, drain_grace_s=TIMEOUT_S)
    return key, ServeConfig(model=model, engine=engine, server=limits, security=security, streams=streams)


def _pems(setup: ServerSetup, files: Files) -> dict[str, bytes]:
    if not setup.tls:
        return {}
    pems = {"ca_pem": files.authority.cert_pem.bytes()}
    if setup.tls == "mutual":
        leaf = files.authority.issue_cert("client@example.org")
        pems["cert_pem"] = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        # In PKCS#8: Java and its Netty read no other form.
        key = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
        pems["key_pem"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pems


@contextmanager
def _interceptors(outermost: grpc.aio.ServerInterceptor, innermost: grpc.aio.ServerInterceptor) -> Iterator[None]:
    """gRPC servers that are made meanwhile have these, too."""
    make: Callable[..., grpc.aio.Server] = grpc.aio.server

    def server(*, interceptors: Sequence[grpc.aio.ServerInterceptor], **options: Any) -> grpc.aio.Server:
        return make(interceptors=(outermost, *interceptors, innermost), **options)

    with mock.patch.object(grpc.aio, "server", server):
        yield


async def _before(case: Case, stage: Play, stack: AsyncExitStack) -> None:
    """Ask for the stream that is there when the client comes."""
    if (before := case.before) is None:
        return
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{stage.server.port}"))
    body = {"model": "tiny", "messages": [{"role": "ROLE_USER", "content": "hi"}], **before.stream}
    request = ParseDict(body, ChatCompletionRequest())
    metadata = (RUNNER, ("authorization", f"Bearer {stage.connection.api_key}"))
    async with asyncio.timeout(TIMEOUT_S):
        for _ in range(before.times):
            call = ChatServiceStub(channel).StreamChatCompletion(request, metadata=metadata)
            stack.callback(call.cancel)
            await _read(call, before, stage)


async def _read(call: Any, before: Before, stage: Play) -> None:
    num_read = 0
    # Not `async for`: leaving that cancels the call.
    while num_read != before.read and (event := await call.read()) is not grpc.aio.EOF:
        num_read += 1
        stage.known["$sequence"] = str(event.sequence)
        if event.HasField("started"):
            stage.known["$id"] = event.started.id
    if before.leave:
        call.cancel()


def _command(call: Call, stage: Play) -> Any:
    command = Command(connection=stage.connection, auto_resume=call.auto_resume)
    known = {**stage.known, FILLER: filler(call.fill_bytes)}
    ParseDict(replaced(call.request, known), getattr(command, call.method))
    getattr(command, call.method).SetInParent()
    if call.leave_after_events is not None:
        command.leave_after_events = call.leave_after_events
    for name, seconds in (("timeout", call.timeout_s), ("cancel_after", call.cancel_after_s)):
        if seconds is not None:
            getattr(command, name).CopyFrom(Duration(nanos=round(seconds % 1 * 1e9), seconds=int(seconds)))
    return command
