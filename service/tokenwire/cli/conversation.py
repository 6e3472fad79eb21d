"""A conversation typed line by line: commands, the history, and answers that can be stopped half-way."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TextIO

from google.protobuf.json_format import MessageToDict

from tokenwire.cli.parameters import set_parameter
from tokenwire.cli.problems import explain
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, FinishReason, Message
from tokenwire_client import Client, StreamUpdate, TokenwireClientError, assistant, system, user

HELP = """\
/system TEXT      instructions to the model; without text: none
/set NAME VALUE   a parameter of the request, such as temperature 0.2; without value: the default
/show             instructions, parameters and the length of the conversation
/reset            forget the conversation; instructions and parameters stay
/quit             leave, as ^D does
^C stops the answer. A line that starts with // is sent with one / less."""

_DIM, _NORMAL = "\x1b[2m", "\x1b[0m"


class Conversation:
    """Reads lines until the end of input. `read_line` raises `EOFError` there, and `KeyboardInterrupt` on ^C.

    `request` has the parameters to begin with, and no messages; `/set` changes it. An empty `system` is none.
    """

    def __init__(
        self,
        client: Client,
        *,
        target: str,
        request: ChatCompletionRequest,
        system: str,
        read_line: Callable[[], str],
        output: TextIO,
    ) -> None:
        self.has_failed = False
        """Whether a call has failed."""
        self._client = client
        self._target = target
        self._system = system
        self._request = request
        self._history: list[Message] = []
        self._read_line = read_line
        self._output = output
        self._commands: Mapping[str, Callable[[str], None]] = {
            "/system": self._set_system,
            "/set": self._set_parameter,
            "/show": self._show,
            "/reset": self._reset,
            "/help": lambda argument: self._print(HELP),
        }

    def run(self) -> None:
        """Until `/quit` or the end of input."""
        while True:
            try:
                line = self._read_line().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                self._print("\n/quit or ^D leaves")
                continue
            if line == "/quit":
                return
            if line:
                self._obey_or_answer(line)

    def _obey_or_answer(self, line: str) -> None:
        if not line.startswith("/") or line.startswith("//"):
            self._answer(line.removeprefix("/"))
            return
        name, _, argument = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            self._print(f"there is no command {name}; /help lists them")
            return
        command(argument.strip())

    def _answer(self, text: str) -> None:
        question = user(text)
        texts: list[str] = []
        try:
            self._stream([*self._history, question], texts)
        except KeyboardInterrupt:
            self._print("\n[stopped]")
        except TokenwireClientError as error:
            self.has_failed = True
            self._print(("\n" if texts else "") + f"error: {explain(error, target=self._target)}")
        if texts:
            # A stopped answer stays: the model knows how far it came.
            self._history += [question, assistant("".join(texts))]

    def _stream(self, messages: list[Message], texts: list[str]) -> None:
        request = ChatCompletionRequest()
        request.CopyFrom(self._request)
        request.messages.extend([*([system(self._system)] if self._system else []), *messages])
        reason = FinishReason.FINISH_REASON_UNSPECIFIED
        with closing(self._client.stream(request)) as stream:
            for update in stream:
                self._show_reasoning(update, is_last=bool(update.text) and not texts)
                if update.text:
                    texts.append(update.text)
                    self._write(update.text)
                reason = update.event.finished.finish_reason or reason
        self._print("\n[cut at the limit of tokens]" if reason == FinishReason.FINISH_REASON_LENGTH else "")

    def _show_reasoning(self, update: StreamUpdate, *, is_last: bool) -> None:
        """On a terminal, dimmed and above the answer; what is piped is the answer alone."""
        if not self._output.isatty():
            return
        if update.reasoning:
            self._write(f"{_DIM}{update.reasoning}{_NORMAL}")
        if is_last and update.completion.choices[0].reasoning:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()

    def _set_system(self, text: str) -> None:
        self._system = text

    def _set_parameter(self, argument: str) -> None:
        name, _, text = argument.partition(" ")
        try:
            set_parameter(self._request, name, text.strip())
        except ValueError as error:
            self._print(str(error))

    def _show(self, argument: str) -> None:
        self._print(f"system: {self._system or '(none)'}")
        for name, value in MessageToDict(self._request, preserving_proto_field_name=True).items():
            self._print(f"{name}: {value}")
        self._print(f"messages: {len(self._history)}")

    def _reset(self, argument: str) -> None:
        self._history.clear()

    def _print(self, text: str) -> None:
        print(text, file=self._output, flush=True)
