"""`tokenwire serve --tensor-parallel 2` over gRPC, and again when one of the two processes has died."""

from pathlib import Path

import psutil

from support.serve_process import EXIT_TIMEOUT_S, ServeProcess
from support.tiny import make_model
from tokenwire.engine.model.parallel.followers import PROGRAM
from tokenwire_client import Client, Transport

CALL_TIMEOUT_S = 240


def test_a_stream_outlives_one_of_two_processes(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "tiny", max_position_embeddings=4096)
    options = ("--device", "cpu", "--port", "0", "--tensor-parallel", "2")
    with ServeProcess("--model", folder, *options, log=tmp_path / "log") as server:
        server.wait_until_ready("gRPC")
        processes = psutil.Process(server.pid).children(recursive=True)
        (follower,) = [process for process in processes if PROGRAM in process.cmdline()]
        with Client(server.target, timeout_s=CALL_TIMEOUT_S, transport=Transport(retries=False)) as client:
            answer = client.chat("hi", ignore_eos=True, max_completion_tokens=20)
            assert answer.usage.completion_tokens == 20
            stream = iter(client.stream("hi", ignore_eos=True, max_completion_tokens=1000))
            next(update for update in stream if update.text)
            follower.kill()
            *_, last = stream
            assert last.completion.usage.completion_tokens == 1000
            processes += psutil.Process(server.pid).children(recursive=True)
    assert "rank 1 of 2 was killed by signal 9" in (tmp_path / "log").read_text()
    assert psutil.wait_procs(processes, EXIT_TIMEOUT_S)[1] == []
