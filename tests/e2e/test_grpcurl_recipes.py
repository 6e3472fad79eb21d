"""Every command of docs/grpcurl.md, run as it stands: its exit code, and what the document says that it prints."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from e2e.conftest import CALL_TIMEOUT_S, MODEL
from support.fake_engine import FakeEngine
from support.recipes import Recipe, read_recipes, substituted
from support.serve_process import ServeProcess
from support.serving import serving
from tokenwire.config import SecurityConfig
from tokenwire.security.key_file import add_key

pytestmark = pytest.mark.smollm2

ROOT = Path(__file__).parents[2]
RECIPES = read_recipes(ROOT / "docs/grpcurl.md")
GRPC, SECURE, CHANNELZ = "127.0.0.1:50051", "chat.example.com:443", "127.0.0.1:50052"
"""Addresses in the document."""


def protected(folder: Path, keys: Path) -> SecurityConfig:
    """With keys, and TLS whose authority is in `ca.pem`."""
    authority, cert, key = trustme.CA(), folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(str(key))
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    return SecurityConfig(api_keys=keys, tls_cert=cert, tls_key=key)


@asynccontextmanager
async def special_server(heading: str, engine: FakeEngine, folder: Path) -> AsyncIterator[dict[str, str]]:
    """Where a section needs another server than the others: serves it, and tells what to replace in the commands."""
    match heading:
        case "TLS and API keys":
            keys = folder / "keys.yaml"
            keys.touch()
            key = add_key(keys, "alice", {})
            async with serving(engine, protected(folder, keys)) as server:
                yield {SECURE: f"127.0.0.1:{server.port}", "$TOKENWIRE_API_KEY": key}
        case "Without reflection":
            make = await asyncio.create_subprocess_exec("make", "descriptors", cwd=ROOT)
            assert await make.wait() == 0
            (folder / "tokenwire.binpb").write_bytes((ROOT / "dist/tokenwire.binpb").read_bytes())
            async with serving(engine, SecurityConfig(reflection=False)) as server:
                yield {GRPC: f"127.0.0.1:{server.port}"}
        case _:
            yield {}


async def start(recipe: Recipe, folder: Path) -> Process:
    """Run the commands, with this environment's grpcurl."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return await asyncio.create_subprocess_exec(
        *("bash", "-euc", recipe.command),
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )


async def check(recipe: Recipe, process: Process, output: bytes = b"") -> None:
    """Wait for the end. `output` is what has been read before."""
    rest, _ = await process.communicate()
    printed = (output + rest).decode()
    assert (process.returncode != 0) == recipe.fails, printed
    assert recipe.matches(printed), printed


@pytest.mark.parametrize("heading", RECIPES)
async def test_the_commands_do_what_the_document_says(
    heading: str, smollm2_command: ServeProcess, engine: FakeEngine, tmp_path: Path
) -> None:
    words = {GRPC: smollm2_command.target, CHANNELZ: smollm2_command.channelz, "smollm2-135m-instruct": MODEL}
    async with asyncio.timeout(CALL_TIMEOUT_S), special_server(heading, engine, tmp_path) as others:
        waiting = []
        for recipe in (substituted(recipe, words | others) for recipe in RECIPES[heading]):
            process = await start(recipe, tmp_path)
            if recipe.terminal:
                assert process.stdout is not None
                waiting.append((recipe, process, await process.stdout.readuntil(b'"started"')))
            else:
                await check(recipe, process)
        for recipe, process, output in waiting:
            await check(recipe, process, output)


def test_every_call_of_the_server_has_a_recipe(smollm2_command: ServeProcess) -> None:
    commands = "\n".join(recipe.command for recipes in RECIPES.values() for recipe in recipes)
    with grpc.insecure_channel(smollm2_command.target) as channel:
        told = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(told)
        calls = [
            f"{service}/{method.name}"
            for service in told.get_services()
            for method in pool.FindServiceByName(service).methods
        ]
    assert len(calls) > 13
    assert [call for call in calls if call not in commands] == []
