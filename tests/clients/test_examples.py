"""Every example of every client against `tokenwire serve` with SmolLM2: what it prints, and what the server saw."""

import asyncio
import json
import os
import re
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme

from chaos.cutting_proxy import CuttingProxy
from clients.conftest import Built
from clients.languages import Language, discover
from support.serve_process import TOKENWIRE, ServeProcess
from support.serving import until
from tokenwire.cache import default_cache_dir
from tokenwire.demo import fetch_demo_model

MODEL = "smollm2-135m-instruct"
EXAMPLE_TIMEOUT_S = 60
CUT_AFTER_BYTES = 1500
"""`started` and some tokens; the whole stream of an example is longer."""

Call: TypeAlias = tuple[str, str]
"""Regular expressions of a method and of how it ended."""

CREATE: Call = ("CreateChatCompletion", "OK")
STREAM: Call = ("StreamChatCompletion", "OK")
ANY: Call = ("(Create|Stream)ChatCompletion", "OK")

# What the server must have seen of an example, and what must be in its output.
SEEN: Mapping[str, Sequence[Call]] = {
    "quickstart": [ANY],
    "unary": [CREATE],
    "stream": [STREAM],
    "tools": [ANY, ANY],
    "json_schema": [ANY],
    "cancel": [("StreamChatCompletion", "CANCELLED")],
    "deadline": [ANY],
}
PRINTED: Mapping[str, str] = {"json_schema": r"\d people", "deadline": r"(?i)time_?limit"}

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]
# Two that differ in their drivers only have the same examples.
LANGUAGES = list({language.example: language for language in reversed(discover().values())}.values())[::-1]
every_language = pytest.mark.parametrize("client", LANGUAGES, ids=lambda language: language.name)


@dataclass(frozen=True, slots=True)
class Served:
    """A server and what it logs."""

    process: ServeProcess

    def calls(self) -> list[dict[str, Any]]:
        """Of `tokenwire.v1`, that have ended."""
        *whole, _ = self.process.log.read_text(encoding="utf-8").split("\n")  # what it just writes is left out
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if line["logger"] == "tokenwire.access"]


def serve(log: Path, *options: str | Path) -> ServeProcess:
    model = ("--model", fetch_demo_model(default_cache_dir()), "--served-model-name", MODEL, "--device", "cpu")
    ports = ("--port", "0", "--metrics-port", "0", "--kv-memory", "256MiB")
    return ServeProcess(*model, *ports, "--log-format", "json", *options, log=log)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As it is by default."""
    with serve(tmp_path_factory.mktemp("served") / "log") as process:
        yield Served(process.wait_until_ready("metrics"))


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server with TLS that wants a key."""

    served: Served
    environment: Mapping[str, str]
    """For `tls_and_key`: whom to trust, and the key."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    cert, key, ca, keys = (folder / name for name in ("cert.pem", "key.pem", "ca.pem", "keys.yaml"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    add = [*TOKENWIRE, "keys", "add", "alice", "--api-keys", str(keys)]
    api_key = subprocess.run(add, check=True, capture_output=True, text=True).stdout.strip()
    options = ("--tls-cert", cert, "--tls-key", key, "--api-keys", keys)
    with serve(folder / "log", *options) as process:
        environment = {"TOKENWIRE_CA": str(ca), "TOKENWIRE_API_KEY": api_key}
        yield Guarded(Served(process.wait_until_ready("metrics")), environment)


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of an example."""

    code: int
    stdout: str
    stderr: str


async def run(client: Language, example: str, target: str, environment: Mapping[str, str] | None = None) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *map(str, (*client.example(example), target)),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **client.environment, **(environment or {})},
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), EXAMPLE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


async def run_well(client: Language, example: str, target: str, environment: Mapping[str, str] | None = None) -> str:
    """What it prints."""
    ended = await run(client, example, target, environment)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert ended.stdout.strip()
    return ended.stdout


async def until_seen(served: Served, since: int, *expected: Call, **fields: str) -> None:
    """The server logged these calls, with these fields in each."""

    async def is_seen() -> bool:
        lines = [line for line in served.calls()[since:] if fields.items() <= line.items()]
        for method, outcome in expected:
            found = (line for line in lines if re.fullmatch(f"ChatService/{method}", line["method"]))
            if (line := next((line for line in found if re.fullmatch(outcome, line["code"])), None)) is None:
                return False
            lines.remove(line)
        return True

    await until(is_seen)


@every_language
@pytest.mark.parametrize("example", SEEN)
async def test_an_example_runs(client: Language, built: Built, served: Served, example: str) -> None:
    built(client)
    since = len(served.calls())
    printed = await run_well(client, example, served.process.target)
    assert re.search(PRINTED.get(example, ""), printed)
    await until_seen(served, since, *SEEN[example])


@every_language
async def test_resume_goes_on_after_a_cut_connection(client: Language, built: Built, served: Served) -> None:
    built(client)
    since, lives = len(served.calls()), chain([CUT_AFTER_BYTES], repeat(sys.maxsize))
    async with CuttingProxy(served.process.target, num_bytes=lambda: next(lives)) as proxy:
        printed = await run_well(client, "resume", proxy.target)
    assert re.search(r"\d+", printed)  # the tokens
    await until_seen(served, since, ("StreamChatCompletion", "CANCELLED"), ("ResumeChatCompletion", "OK"))


@every_language
async def test_tls_and_key_are_used(client: Language, built: Built, guarded: Guarded) -> None:
    built(client)
    since = len(guarded.served.calls())
    await run_well(client, "tls_and_key", guarded.served.process.target, guarded.environment)
    await until_seen(guarded.served, since, ANY, key="alice")


@every_language
async def test_a_wrong_key_is_told_and_fails(client: Language, built: Built, guarded: Guarded) -> None:
    built(client)
    environment = {**guarded.environment, "TOKENWIRE_API_KEY": "tw-wrong"}
    ended = await run(client, "tls_and_key", guarded.served.process.target, environment)
    assert ended.code != 0
    assert "API key" in ended.stderr


@every_language
async def test_a_server_that_is_not_there_is_told_and_fails(client: Language, built: Built) -> None:
    built(client)
    ended = await run(client, "unary", "127.0.0.1:1")
    assert ended.code != 0
    assert re.search(r"(?i)unavailable|connect", ended.stderr)
