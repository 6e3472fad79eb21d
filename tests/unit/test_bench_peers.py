"""The peers' benchmark: servers that take turns, and the table of what they did. And the growth of curves."""

import sys
from pathlib import Path

import psutil
import pytest

from bench.growth import Curve
from bench.peers.residents import Launch, Residents, free_port
from bench.peers.table import markdown
from tokenwire.cli.bench.compare import Measured, Point
from tokenwire.cli.bench.load import Round
from tokenwire.cli.bench.targets import Address

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "m"}]}')
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def launch(name: str, *, code: str = SERVER) -> Launch:
    port = free_port()
    address = Address(name, "http", f"127.0.0.1:{port}/v1")
    return Launch(address=address, url=str(address), command=[sys.executable, "-c", code, str(port)])


def stopped(folder: Path) -> dict[str, bool]:
    """Of the servers that a test started: whether it is stopped, by its log's name."""
    children = psutil.Process().children()
    logs = {child.pid: Path(f"/proc/{child.pid}/fd/1").readlink() for child in children}
    return {
        logs[child.pid].stem: child.status() == psutil.STATUS_STOPPED
        for child in children
        if logs[child.pid].parent == folder
    }


def test_only_the_server_whose_turn_it_is_runs(tmp_path: Path) -> None:
    residents = Residents(tmp_path)
    try:
        residents.start(launch("a"))
        residents.start(launch("b"))
        assert stopped(tmp_path) == {"a": True, "b": True}
        with residents.turn("b"):
            assert stopped(tmp_path) == {"a": True, "b": False}
        assert stopped(tmp_path) == {"a": True, "b": True}
    finally:
        residents.close()
    assert stopped(tmp_path) == {}


def test_a_server_that_ends_while_it_starts_is_named_with_its_log(tmp_path: Path) -> None:
    residents = Residents(tmp_path)
    try:
        with pytest.raises(RuntimeError, match=r"broken ended with 3 while it started; see .*broken\.log"):
            residents.start(launch("broken", code="import sys; sys.exit(3)"))
    finally:
        residents.close()


def test_ratios_are_the_first_servers_rate_over_each() -> None:
    def rounds(tokens: int) -> list[Round]:
        return [
            Round(
                errors={},
                wall_s=2.0,
                client_cpu_s=0.1,
                prompt_tokens=1,
                completion_tokens=tokens,
                first_token_s=[0.05],
                between_tokens_s=[0.01],
                request_s=[2.0],
            )
        ]

    table = markdown([Measured(Point(8, None), {"ours": rounds(300), "peer": rounds(100)})])
    assert table.splitlines()[2:] == [
        "| 8 | ours | 150.0 (150.0–150.0) | 1.00 | 50 / 50 / 50 | 10 / 10 | 2000 |",
        "| 8 | peer | 50.0 (50.0–50.0) | 3.00 | 50 / 50 / 50 | 10 / 10 | 2000 |",
    ]


def test_the_exponent_of_growth_is_the_slope_on_logarithmic_axes() -> None:
    square = Curve("square", "x", "ms", [(x, 3.0 * x**2) for x in (1, 2, 8)])
    assert list(square.exponents()) == pytest.approx([2.0, 2.0])
