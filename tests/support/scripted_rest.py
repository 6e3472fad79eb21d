"""A server with OpenAI's REST API whose answers are scripted: the peer that the load generator is tested against."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from support.scripted_server import WAIT_S

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is answered with this status."""

    status: int
    message: str


Script = Refusal | Sequence[Json]


def chunks(*texts: str, prompt_tokens: int = 3) -> list[Json]:
    """A good stream: each text is a delta and counts as one token; the usage comes last, as OpenAI has it."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(texts)}
    deltas: list[Json] = [{"role": "assistant", "content": None}, *({"content": text} for text in texts)]
    return [*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas), {"choices": [], "usage": usage}]


class ScriptedRestServer:
    """Serves on a free port of the loopback. Chat requests take the scripts in turn; the last serves the rest."""

    def __init__(self, *scripts: Script, models: Sequence[str] = ("m",), unknown: str = "") -> None:
        self.models = models
        self.unknown = unknown
        """A request with this field is refused, and takes no script."""
        self.requests: list[Json] = []
        """Of chat calls, those that were refused for a field included."""
        self._scripts = list(scripts)
        self._lock = threading.Lock()
        scripted = self

        class Handler(_Handler):
            server_of_scripts = scripted

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def next_script(self, request: Json) -> Script:
        """Note the request and take its script."""
        with self._lock:
            self.requests.append(request)
            if self.unknown in request:
                return Refusal(400, f"Unrecognized request argument supplied: {self.unknown}")
            return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)


class _Handler(BaseHTTPRequestHandler):
    server_of_scripts: ScriptedRestServer
    timeout = WAIT_S

    def do_GET(self) -> None:
        self._reply(200, {"data": [{"id": name} for name in self.server_of_scripts.models]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script = self.server_of_scripts.next_script(request)
        if isinstance(script, Refusal):
            self._reply(script.status, {"error": {"message": script.message}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": a comment\n\n")
        for chunk in script:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _reply(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""
