"""`tokenwire bench` against scripted servers of both protocols."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from support.rest_api import MODEL, TIMEOUT_S, TOKENS, Api
from support.scripted_rest import Refusal, ScriptedRestServer, chunks
from support.scripted_server import Failure, ScriptedServer, answer
from tokenwire.cli.app import app
from tokenwire.cli.bench.load import measure
from tokenwire.cli.bench.rest_target import RestTarget
from tokenwire.cli.bench.targets import parse_address


def bench(*arguments: str | Path) -> int:
    """The exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        app(["bench", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def user_texts(server: ScriptedServer | ScriptedRestServer) -> list[str]:
    if isinstance(server, ScriptedServer):
        return [request.messages[0].content for request in server.requests]
    return [request["messages"][0]["content"] for request in server.requests]


def test_bench_reports_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    with ScriptedServer(answer("a", "b", "c")) as server:
        arguments: list[str | Path] = [
            "--streams",
            "1,3",
            "--rounds",
            "2",
            "--requests",
            "2",
            "--prompt-tokens",
            "40",
            "--json",
            file,
        ]
        assert bench("--target", server.target, *arguments) == 0
    points = read(file)["points"]
    assert [(point["streams"], point["prompt_tokens"]) for point in points] == [(1, 40), (3, 40)]
    for point in points:
        figures = point["servers"][server.target]
        assert (figures["requests"], figures["errors"]) == (2 * 2 * point["streams"], {})
        assert (figures["prompt_tokens"], figures["completion_tokens"]) == (3, 3)
        assert figures["first_token_s"]["p50"] <= figures["request_s"]["p99"]
        for one in figures["rounds"]:
            assert one["output_tokens_per_s"] == pytest.approx(3 * 2 * point["streams"] / one["wall_s"])
    assert "output tok/s" in capsys.readouterr().out
    assert {len(text) for text in user_texts(server)} == {40}
    assert server.requests[-1].ignore_eos
    assert server.requests[-1].max_completion_tokens == 96


def test_servers_of_both_protocols_get_the_same_prompts_each_once(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    with ScriptedServer(answer("a", "b")) as ours, ScriptedRestServer(chunks("x", "y", "z", prompt_tokens=7)) as peer:
        targets = [f"ours=grpc://{ours.target}", f"peer={peer.url}"]
        assert bench(*targets, "--streams", "1,2", "--rounds", "3", "--json", file) == 0
    [peer_probe, *peer_texts] = user_texts(peer)
    assert sorted(peer_texts) == sorted(user_texts(ours))
    assert len({*peer_texts, peer_probe}) == 1 + (3 + 1) * (1 + 2)
    figures = read(file)["points"][1]["servers"]
    assert (figures["ours"]["requests"], figures["ours"]["completion_tokens"]) == (6, 2)
    assert (figures["peer"]["requests"], figures["peer"]["completion_tokens"]) == (6, 3)
    assert figures["peer"]["prompt_tokens"] == 7


def test_a_peer_is_asked_for_greedy_answers_of_full_length() -> None:
    with ScriptedRestServer(chunks("x")) as peer:
        assert bench(peer.url, "--streams", "1", "--rounds", "1", "--max-tokens", "20") == 0
    request = peer.requests[-1]
    assert (request["temperature"], request["max_tokens"], request["ignore_eos"]) == (0, 20, True)
    assert (request["stream"], request["stream_options"]) == (True, {"include_usage": True})


def test_a_peer_that_takes_no_ignore_eos_is_asked_without(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedRestServer(chunks("x"), unknown="ignore_eos") as peer:
        assert bench(peer.url, "--streams", "1", "--rounds", "2") == 0
    assert ["ignore_eos" in request for request in peer.requests] == [True, False, False, False]
    assert "takes no `ignore_eos`" in " ".join(capsys.readouterr().out.split())


def test_bench_counts_errors_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    full = Failure(grpc.StatusCode.UNAVAILABLE, "full", [ErrorInfo(reason="QUEUE_FULL")])
    with ScriptedServer(answer("a"), [full], answer("a")) as server:
        assert bench(f"ours=grpc://{server.target}", "--streams", "1", "--rounds", "3") == 1
    assert "ours, 1 streams: 1 × full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (Refusal(500, "out of memory"), "out of memory"),
        ([*chunks("x")[:2], {"error": {"message": "the engine died"}}], "the engine died"),
        (chunks("x")[:-1], "gave no usage"),
        ([{"choices": None}], "TypeError"),
    ],
)
def test_a_peer_that_fails_half_way_is_counted_by_its_message(
    script: Refusal | list[dict[str, Any]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRestServer(chunks("probe"), chunks("warm-up"), script, chunks("x")) as peer:
        assert bench(f"peer={peer.url}", "--streams", "1", "--rounds", "2") == 1
    errors = capsys.readouterr().err
    assert "peer, 1 streams: 1 × " in errors
    assert message in errors


async def test_our_own_rest_api_can_be_measured_as_a_peer(api: Api) -> None:
    address = parse_address(f"{api.http.base_url}/v1")
    target = RestTarget(address, model=None, api_key=None, timeout_s=TIMEOUT_S)
    try:
        assert await target.describe() == MODEL
        one = await measure(target, ["hello", "goodbye"], streams=2, max_tokens=8)
    finally:
        await target.close()
    assert (one.errors, one.requests, one.completion_tokens) == ({}, 2, 2 * len(TOKENS))
    assert len(one.first_token_s) == 2


def test_a_peer_with_several_models_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedRestServer(chunks("x"), models=("a", "b")) as peer:
        assert bench(peer.url) == 1
        assert "serves a, b: name one with --model" in capsys.readouterr().err
        assert bench(peer.url, "--model", "b", "--streams", "1", "--rounds", "1") == 0
    assert peer.requests[-1]["model"] == "b"


@pytest.mark.parametrize("target", ["peer=ftp://host", "host:50051", "peer=http://"])
def test_a_target_of_another_form_is_refused(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(target) == 2
    assert f"got {target!r}" in capsys.readouterr().err


def test_two_targets_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("a=grpc://host:1", "a=http://host:2/v1") == 2
    assert "a name of its own" in capsys.readouterr().err


@pytest.mark.parametrize("levels", ["0", "1,", "1,a", "-1"])
def test_bench_refuses_levels_that_are_no_numbers(levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(f"--streams={levels}") != 0
    assert f"got '{levels}'" in " ".join(capsys.readouterr().err.split())


def test_a_plot_is_a_real_picture_with_the_servers_in_it(tmp_path: Path) -> None:
    svg, png = tmp_path / "curves.svg", tmp_path / "curves.png"
    with ScriptedServer(answer("a", "b")) as ours, ScriptedRestServer(chunks("x", "y")) as peer:
        targets = [f"ours=grpc://{ours.target}", f"peer={peer.url}"]
        assert bench(*targets, "--streams", "1,2", "--rounds", "1", "--plot", svg) == 0
        assert bench(*targets, "--streams", "1", "--prompt-tokens", "5,9", "--rounds", "1", "--plot", png) == 0
    root = ElementTree.parse(svg).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = {text.strip() for text in root.itertext()}
    assert {"ours", "peer", "streams", "output tokens a second"} <= words
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")


def test_a_plot_of_another_format_is_refused_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(answer("a")) as server:
        assert bench("--target", server.target, "--plot", "curves.jpg") == 2
    assert "ends in .png or .svg; got 'curves.jpg'" in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    ("module", "arguments"), [("matplotlib", ["--plot", "curves.svg"]), ("httpx", ["http://localhost/v1"])]
)
def test_what_needs_the_extra_says_so(
    module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert bench(*arguments) == 2
    assert f"{module} must be installed for this: pip install 'tokenwire[bench]'" in capsys.readouterr().err
