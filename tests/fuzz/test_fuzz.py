"""Some thousand random calls of fixed seeds, and all inputs that failed once. `make fuzz` makes many more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from fuzz.http_schema import run_schemathesis
from fuzz.minimise import minimised
from fuzz.oracle import is_path
from fuzz.runs import FOUND, Report, fuzz_contract, fuzz_http, replay
from fuzz.target import Target
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, Message

SEED = 20261123
MAX_GROWTH_MIB = 48.0
"""Caches fill up: tried grammars, stored completions."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(log=tmp_path_factory.mktemp("fuzz") / "log") as target:
        yield target


def assert_nothing_grew(report: Report) -> None:
    before, after = report.censuses[0], report.censuses[-1]
    grown = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    assert grown.pop("rss_mib", 0.0) < MAX_GROWTH_MIB
    assert grown == {}


def test_no_rpc_breaks_a_promise(target: Target) -> None:
    report = fuzz_contract(target, seed=SEED, num_calls=2000)
    assert report.defects == {}
    assert_nothing_grew(report)


def test_no_http_request_breaks_a_promise(target: Target) -> None:
    report = fuzz_http(target, seed=SEED, num_calls=600)
    assert report.defects == {}
    assert_nothing_grew(report)


def test_http_keeps_to_its_document(target: Target) -> None:
    assert "5 passed" in run_schemathesis(target, seed=SEED, max_examples=5, phases="fuzzing")


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_an_input_that_failed_once_does_not_again(target: Target, path: Path) -> None:
    assert replay(target, path)


def test_a_failing_input_is_made_small() -> None:
    request = ChatCompletionRequest(
        model="m",
        messages=[Message(content="x" * 100), Message(name="n")],
        execution_policy=ExecutionPolicy(priority=1, retain_for=Duration(seconds=1, nanos=2)),
    )

    def fails(data: bytes) -> bool:
        return ChatCompletionRequest.FromString(data).execution_policy.retain_for.nanos == 2

    small = minimised(request.SerializeToString(), ChatCompletionRequest, fails)
    assert ChatCompletionRequest.FromString(small) == ChatCompletionRequest(
        execution_policy=ExecutionPolicy(retain_for=Duration(nanos=2))
    )


@pytest.mark.parametrize(
    ("path", "is_good"),
    [
        ("messages[0].content_parts.parts[1].text", True),
        ("metadata[a[0].`]", True),
        ("logit_bias[-5]", True),
        ("tool_choice.choice", True),
        ("messages[0].text", False),
        ("model[0]", False),
        ("tool_choice.choice.mode", False),
        ("priority", False),
    ],
)
def test_paths_are_told_from_what_is_none(path: str, is_good: bool) -> None:
    assert is_path(path, ChatCompletionRequest.DESCRIPTOR) is is_good
