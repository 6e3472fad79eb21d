"""Proof that constrained answers are valid: the demo model answers to hundreds of schemas, `jsonschema` judges.

python tests/bench/schema_proof.py [--suite] [--share N] [--in-flight 32] [--max-tokens 256] [--json FILE]

The corpus is our own (tests/support/schema_corpus.py); `--suite` adds the official JSON-Schema-Test-Suite of draft
2020-12, counted apart, out of the sdist of the PyPI package `jsonschema`, fetched with pip, and tries its invalid
values, too. The exit status is 1 if an answer is invalid, a request failed, an invalid value was let through, or under
90 % of the answers to our own corpus are complete.
"""

import argparse
import asyncio
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from llguidance import LLMatcher

from support.schema_corpus import SchemaCase, schema_corpus
from support.schema_proof import MIN_COMPLETE_SHARE, ProofReport, prove
from support.schema_suite import SuiteGroup, fetch_suite
from support.whole_text import accepts
from tokenwire.cache import default_cache_dir
from tokenwire.chat.constraint.rule import json_rule
from tokenwire.chat.constraint.schema_gaps import gaps
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig
from tokenwire.demo import DEMO_MODEL_NAME, fetch_demo_model
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server
from tokenwire_client import AsyncClient

REQUEST_TIMEOUT_S = 900
SUITE_MAX_TOKENS = 64
"""Most schemas of the suite are unbounded: what is complete at all is so early."""


def let_through(groups: Sequence[SuiteGroup]) -> tuple[int, list[str]]:
    """How many values that do not match their schemas were tried with the grammars of these, and which of them were
    let through."""
    tried, found = 0, []
    for group in groups:
        grammar = "start: " + json_rule(group.schema)
        if gaps(group.schema) or LLMatcher.validate_grammar(grammar):
            continue
        for value in group.invalid:
            tried += 1
            if accepts(grammar, json.dumps(value, ensure_ascii=False)):
                found.append(f"{value!r} for {group.schema!r}")
    return tried, found


async def run(arguments: argparse.Namespace, suite: Sequence[SuiteGroup]) -> dict[str, ProofReport]:
    """Serve the demo model and prove the corpora, one after the other."""
    corpora = {"own": (schema_corpus(), arguments.max_tokens)}
    if suite:
        corpora["JSON-Schema-Test-Suite"] = ([SchemaCase("a value", group.schema) for group in suite], SUITE_MAX_TOKENS)
    model = ModelOptions(model=str(fetch_demo_model(default_cache_dir())), served_model_name=DEMO_MODEL_NAME)
    config = ServeConfig(model=model, server=ServerConfig(port=0))
    server = Server(config, SupervisedEngine(config.engine_options))
    try:
        await server.start(lambda progress: None)
        async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=REQUEST_TIMEOUT_S) as client:
            return {
                name: await prove(
                    client,
                    cases[:: arguments.share],
                    in_flight=arguments.in_flight,
                    max_tokens=max_tokens,
                    timeout_s=REQUEST_TIMEOUT_S,
                )
                for name, (cases, max_tokens) in corpora.items()
            }
    finally:
        await server.stop()


def table(reports: dict[str, ProofReport]) -> str:
    """The figures as Markdown."""
    lines = [
        "| corpus | schemas | refused | answers | invalid | failed | complete | cut by length |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, report in reports.items():
        lines.append(
            f"| {name} | {report.schemas} | {report.refused.total()} | {report.answers} | {len(report.invalid)} "
            f"| {report.failed.total()} | {report.complete} ({report.complete_share:.1%}) | {report.cut} |"
        )
    for name, report in reports.items():
        refused = ", ".join(f"`{what}` {count}" for what, count in report.refused.most_common())
        lines += ["", f"Refused of {name}: {refused or 'none'}."]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "cores": psutil.cpu_count(logical=False),
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("llguidance", "jsonschema", "torch", "transformers")},
    }


def main() -> int:
    """Run as told on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="store_true", help="also the official test suite")
    parser.add_argument("--share", type=int, default=1, help="every Nth schema only")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    began_s = time.perf_counter()
    suite = fetch_suite() if arguments.suite else []
    tried, wrong = let_through(suite)
    reports = asyncio.run(run(arguments, suite))
    wrong += [line for report in reports.values() for line in (*report.invalid, *report.failed)]
    print(table(reports), "", *wrong, sep="\n")
    print(f"{tried} invalid values of the suite tried; {time.perf_counter() - began_s:.0f} s")
    if arguments.json is not None:
        figures = {name: asdict(report) for name, report in reports.items()}
        arguments.json.write_text(json.dumps({"machine": machine(), "reports": figures}, indent=2) + "\n")
    return 1 if wrong or reports["own"].complete_share < MIN_COMPLETE_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
