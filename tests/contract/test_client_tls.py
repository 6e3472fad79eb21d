"""The clients over TLS, with and without a certificate of their own."""

from pathlib import Path

import grpc
import pytest
import trustme

from support.scripted_server import WAIT_S, ScriptedServer, answer
from tokenwire.cli.app import app
from tokenwire_client import AsyncClient, Client, Transport, UnavailableError, tls


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, and certificates and keys of a server and a client."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "client@example.org")):
        issued = authority.issue_cert(identity)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def serving(files: Path, *, asks_client: bool = False) -> ScriptedServer:
    pair = ((files / "server.key").read_bytes(), (files / "server.pem").read_bytes())
    root = (files / "ca.pem").read_bytes() if asks_client else None
    return ScriptedServer(answer("one"), credentials=grpc.ssl_server_credentials([pair], root, asks_client))


def test_a_server_is_trusted_by_its_authority(files: Path) -> None:
    with (
        serving(files) as server,
        Client(server.target, credentials=tls(ca=files / "ca.pem"), timeout_s=WAIT_S) as client,
    ):
        assert client.chat("hi").choices[0].content == "one"


async def test_a_client_shows_its_certificate(files: Path) -> None:
    credentials = tls(ca=files / "ca.pem", cert=files / "client.pem", key=files / "client.key")
    with serving(files, asks_client=True) as server:
        async with AsyncClient(server.target, credentials=credentials, timeout_s=WAIT_S) as client:
            assert (await client.chat("hi")).choices[0].content == "one"


@pytest.mark.parametrize("asks_client", [False, True])
def test_without_trust_or_without_a_certificate_nobody_is_reached(files: Path, asks_client: bool) -> None:
    credentials = tls(ca=files / "ca.pem") if asks_client else tls()
    options = Transport(retries=False)
    with (
        serving(files, asks_client=asks_client) as server,
        Client(server.target, credentials=credentials, timeout_s=WAIT_S, transport=options) as client,
        pytest.raises(UnavailableError),
    ):
        client.chat("hi")


def test_the_command_line_uses_tls_too(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "client.key"]
    with serving(files, asks_client=True) as server, pytest.raises(SystemExit) as caught:
        app(["generate", "hi", "--target", server.target, *(str(files / f) if f[0] != "-" else f for f in flags)])
    assert (caught.value.code, capsys.readouterr().out) == (0, "one\n")


def test_a_certificate_without_its_key_is_refused(files: Path) -> None:
    with pytest.raises(ValueError, match="belong together"):
        tls(cert=files / "client.pem")
