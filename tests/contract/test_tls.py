"""TLS and mutual TLS over both transports, with files that change; channelz on the loopback."""

import ssl
from pathlib import Path
from typing import Protocol

import grpc
import httpx
import pytest
import trustme
from grpc_channelz.v1.channelz_pb2 import GetServersRequest
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from support.fake_engine import FakeEngine
from support.server import TIMEOUT_S
from support.serving import serving, until
from tokenwire.config import SecurityConfig
from tokenwire.security.security import Security
from tokenwire.security.tls import Tls
from tokenwire.security.watched_files import SecurityFileError
from tokenwire.server import Server


class Files:
    """The server's certificate, of an authority of its own, and the authority of its clients."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key, self.client_ca = folder / "cert.pem", folder / "key.pem", folder / "clients.pem"
        self.authority = self.issue()
        self.clients = self.trust()

    def issue(self) -> trustme.CA:
        """A new certificate of a new authority."""
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(str(self.key))
        self.cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        return authority

    def trust(self) -> trustme.CA:
        """A new authority of clients."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.client_ca))
        return authority

    @property
    def tls(self) -> SecurityConfig:
        return SecurityConfig(tls_cert=self.cert, tls_key=self.key)

    @property
    def mutual(self) -> SecurityConfig:
        return SecurityConfig(tls_cert=self.cert, tls_key=self.key, tls_client_ca=self.client_ca)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def reaches_grpc(server: Server, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    """Whether a client that trusts this authority alone can call, over a new connection."""
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        None if client is None else client.private_key_pem.bytes(),
        None if client is None else client.cert_chain_pems[0].bytes(),
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        try:
            await HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
    return True


async def reaches_rest(server: Server, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    async with httpx.AsyncClient(verify=context, timeout=TIMEOUT_S) as http:
        try:
            answered = await http.get(f"https://127.0.0.1:{server.http_port}/health")
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            return False
    return answered.status_code == 200


class Reaches(Protocol):
    """One of these."""

    async def __call__(self, server: Server, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bool: ...


REACHES = pytest.mark.parametrize("reaches", [reaches_grpc, reaches_rest], ids=["grpc", "rest"])


@REACHES
async def test_clients_check_the_certificate_and_a_new_one_is_taken(
    engine: FakeEngine, files: Files, reaches: Reaches
) -> None:
    async with serving(engine, files.tls) as server:
        old = files.authority
        assert await reaches(server, old)
        assert not await reaches(server, trustme.CA())
        new = files.issue()
        await until(lambda: reaches(server, new))
        assert not await reaches(server, old)


@REACHES
async def test_clients_need_a_certificate_of_the_authority_of_the_moment(
    engine: FakeEngine, files: Files, reaches: Reaches
) -> None:
    async with serving(engine, files.mutual) as server:
        old = files.clients.issue_cert("client")
        assert not await reaches(server, files.authority)
        assert not await reaches(server, files.authority, trustme.CA().issue_cert("client"))
        assert await reaches(server, files.authority, old)
        new = files.trust().issue_cert("client")
        await until(lambda: reaches(server, files.authority, new))
        assert not await reaches(server, files.authority, old)


async def test_plain_connections_are_not_serving(engine: FakeEngine, files: Files) -> None:
    async with serving(engine, files.tls) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{server.http_port}/health")


async def test_a_certificate_without_its_key_changes_nothing_and_is_logged(
    engine: FakeEngine, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(engine, files.tls) as server:
        trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(files.key))

        async def is_logged() -> bool:
            return "cannot be used" in caplog.text

        await until(is_logged)
        assert await reaches_grpc(server, files.authority)
        assert await reaches_rest(server, files.authority)


@pytest.mark.parametrize("broken", ["cert", "key", "client_ca"])
def test_files_that_cannot_be_used_are_an_error_at_the_start(files: Files, broken: str) -> None:
    getattr(files, broken).write_text("nothing")
    with pytest.raises(SecurityFileError, match="PEM"):
        Tls(cert=files.cert, key=files.key, client_ca=files.client_ca)
    getattr(files, broken).unlink()
    with pytest.raises(SecurityFileError, match="cannot be read"):
        Tls(cert=files.cert, key=files.key, client_ca=files.client_ca)


def test_options_of_tls_go_together(tmp_path: Path) -> None:
    with pytest.raises(SecurityFileError, match="go together"):
        Security(SecurityConfig(tls_cert=tmp_path / "cert.pem"))
    with pytest.raises(SecurityFileError, match="needs"):
        Security(SecurityConfig(tls_client_ca=tmp_path / "clients.pem"))


async def test_channelz_is_on_its_own_port_only(engine: FakeEngine) -> None:
    async with serving(engine, SecurityConfig(admin_port=0)) as server:
        assert server.admin_address is not None
        assert server.admin_address.startswith("127.0.0.1:")
        async with grpc.aio.insecure_channel(server.admin_address) as channel:
            told = await ChannelzStub(channel).GetServers(GetServersRequest(), timeout=TIMEOUT_S)
            assert len(told.server) >= 2  # other tests of this process may have some, too
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ChannelzStub(channel).GetServers(GetServersRequest(), timeout=TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_can_be_turned_off(engine: FakeEngine) -> None:
    async with (
        serving(engine, SecurityConfig(reflection=False)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = ServerReflectionStub(channel).ServerReflectionInfo(timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
