"""A server whose answers are scripted: the peer that clients are tested against, good and bad."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tokenwire.stream import StreamFolder
from tokenwire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)

WAIT_S = 10.0
"""No wait of a test may take longer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The call ends with this status."""

    code: grpc.StatusCode
    message: str = "scripted"
    details: Sequence[Message] = ()
    trailers: Mapping[str, str | bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UntilCancelled:
    """The call stands still until the client goes away."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The call ends as one whose connection is lost. The steps behind it are for those who resume."""


COMPLETION_NOT_FOUND = Failure(grpc.StatusCode.NOT_FOUND, details=[ErrorInfo(reason="COMPLETION_NOT_FOUND")])

Step = chat_pb2.ChatCompletionEvent | Failure | UntilCancelled | Cut
Script = Sequence[Step]


def answer(*texts: str | chat_pb2.Delta, prompt_tokens: int = 3) -> list[Step]:
    """A good stream of one choice: each text is a delta and counts as one token."""
    deltas = [text if isinstance(text, chat_pb2.Delta) else chat_pb2.Delta(content=text) for text in texts]
    usage = chat_pb2.Usage(
        prompt_tokens=prompt_tokens, completion_tokens=len(texts), total_tokens=prompt_tokens + len(texts)
    )
    reason = (
        chat_pb2.FinishReason.FINISH_REASON_TOOL_CALLS
        if any(delta.tool_calls for delta in deltas)
        else chat_pb2.FinishReason.FINISH_REASON_STOP
    )
    events = [
        chat_pb2.ChatCompletionEvent(started=started(prompt_tokens=prompt_tokens)),
        *(chat_pb2.ChatCompletionEvent(delta=delta) for delta in deltas),
        chat_pb2.ChatCompletionEvent(finished=chat_pb2.Finished(finish_reason=reason)),
        chat_pb2.ChatCompletionEvent(completed=chat_pb2.Completed(usage=usage)),
    ]
    for sequence, event in enumerate(events):
        event.sequence = sequence
    return list(events)


def thought(text: str) -> chat_pb2.Delta:
    """Reasoning, to be one of the texts of an answer."""
    return chat_pb2.Delta(reasoning=text)


def call(call_id: str, name: str, *arguments: str, index: int = 0) -> list[chat_pb2.Delta]:
    """A tool call in parts: the first has its id and name, the others the pieces of its arguments."""
    parts = [chat_pb2.ToolCallDelta(index=index, id=call_id, name=name)]
    parts += [chat_pb2.ToolCallDelta(index=index, arguments=piece) for piece in arguments]
    return [chat_pb2.Delta(tool_calls=[part]) for part in parts]


def heartbeat(sequence: int, state: "chat_pb2.CompletionState.ValueType") -> chat_pb2.ChatCompletionEvent:
    """One after the event with this sequence."""
    return chat_pb2.ChatCompletionEvent(sequence=sequence, heartbeat=chat_pb2.Heartbeat(state=state))


def started(*, prompt_tokens: int = 3, n: int = 1) -> chat_pb2.Started:
    """The first event's body."""
    return chat_pb2.Started(
        id="chatcmpl-1", model="m", prompt_tokens=prompt_tokens, parameters=chat_pb2.EffectiveParameters(n=n)
    )


class ScriptedServer:
    """Serves on a free port of the loopback. Calls take the scripts in turn; the last one serves all that follow.

    The answers of unary calls with `store` can be read again; streams that detach can be resumed, and cancelled.
    """

    def __init__(
        self,
        *scripts: Script,
        models: Sequence[str] = ("m",),
        keeps: bool = True,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """With `keeps`, what detaches can be resumed. Without `credentials` it takes plain text."""
        self.keeps = keeps
        self.models = list(models)
        self.requests: list[chat_pb2.ChatCompletionRequest] = []
        """Of chat calls, in order of arrival, attempts that were scripted to fail included."""
        self.metadata: list[dict[str, str | bytes]] = []
        """Of the same calls."""
        self.stored: dict[str, chat_pb2.StoredChatCompletion] = {}
        """By completion id."""
        self.resumes: list[chat_pb2.ResumeChatCompletionRequest] = []
        self.cancels: list[chat_pb2.CancelChatCompletionRequest] = []
        self.detached: dict[str, list[Step]] = {}
        """What can be resumed: steps by completion id."""
        self.forget_after: int | None = None
        """All that can be resumed is forgotten when so many calls have resumed."""
        self.list_calls = 0
        self.asked = threading.Event()
        """A chat call has come."""
        self.cancelled = threading.Event()
        """A client went away from a chat call before its end."""
        self.told_to_cancel = threading.Event()
        """CancelChatCompletion was called."""
        self._scripts = list(scripts)
        self._lock = threading.Lock()
        # A client that stops half-way holds a thread until its call ends.
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
        chat_pb2_grpc.add_ChatServiceServicer_to_server(_Chat(self), self._server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._server)
        tokens_pb2_grpc.add_TokenServiceServicer_to_server(_Tokens(), self._server)
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(_Operations(), self._server)
        health_servicer = health.HealthServicer()
        health_servicer.set("loading", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.target = f"127.0.0.1:{port}"

    def next_script(self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext) -> Script:
        """Note the call and take its script."""
        with self._lock:
            self.requests.append(request)
            self.asked.set()
            self.metadata.append(dict(context.invocation_metadata()))
            return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait(WAIT_S)


class _Chat(chat_pb2_grpc.ChatServiceServicer):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def CreateChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.ChatCompletion:
        folder = StreamFolder()
        for event in self._play(request, context):
            folder.add(event)
        if request.store:
            self._server.stored[folder.completion.id] = chat_pb2.StoredChatCompletion(
                completion=folder.completion, metadata=request.metadata, user=request.user
            )
        return folder.completion

    def GetChatCompletion(  # noqa: N802
        self, request: chat_pb2.GetChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.StoredChatCompletion:
        if request.completion_id not in self._server.stored:
            _fail(COMPLETION_NOT_FOUND, context)
        return self._server.stored[request.completion_id]

    def StreamChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        detaches = request.execution_policy.on_disconnect == chat_pb2.OnDisconnect.ON_DISCONNECT_DETACH
        return self._play(request, context, detaches=detaches)

    def ResumeChatCompletion(  # noqa: N802
        self, request: chat_pb2.ResumeChatCompletionRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        self._server.resumes.append(request)
        if len(self._server.resumes) == self._server.forget_after:
            self._server.detached.clear()
        if request.completion_id not in self._server.detached:
            _fail(COMPLETION_NOT_FOUND, context)
        steps = self._server.detached[request.completion_id]
        after = request.after_sequence if request.HasField("after_sequence") else -1
        return self._run([step for step in steps if _is_after(step, after)], context, steps)

    def CancelChatCompletion(  # noqa: N802
        self, request: chat_pb2.CancelChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.CancelChatCompletionResponse:
        self._server.cancels.append(request)
        self._server.told_to_cancel.set()
        if request.completion_id and self._server.detached.pop(request.completion_id, None) is None:
            _fail(COMPLETION_NOT_FOUND, context)
        cancelled = chat_pb2.CompletionState.COMPLETION_STATE_CANCELLED
        return chat_pb2.CancelChatCompletionResponse(completion_id=request.completion_id, state=cancelled)

    def _play(
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext, *, detaches: bool = False
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        steps = list(self._server.next_script(request, context))
        if detaches and self._server.keeps and isinstance(steps[0], chat_pb2.ChatCompletionEvent):
            steps[0] = _resumable(steps[0])
            self._server.detached[steps[0].started.id] = steps
        return self._run(list(steps), context, steps)

    def _run(
        self, steps: Script, context: grpc.ServicerContext, left: list[Step]
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        """Take the steps. One that loses the connection is taken from what is `left`: it does so once."""
        gone, done = threading.Event(), threading.Event()

        def on_end() -> None:
            gone.set()
            if not done.is_set():
                self._server.cancelled.set()

        if not context.add_callback(on_end):
            on_end()
        for step in steps:
            match step:
                case Cut():
                    left.remove(step)
                    done.set()
                    _fail(Failure(grpc.StatusCode.UNAVAILABLE, "connection lost"), context)
                case Failure():
                    done.set()
                    _fail(step, context)
                case UntilCancelled():
                    gone.wait(WAIT_S)
                    return
                case _:
                    yield step
        done.set()


def _resumable(event: chat_pb2.ChatCompletionEvent) -> chat_pb2.ChatCompletionEvent:
    """The same `started`, and that it can be resumed."""
    copy = chat_pb2.ChatCompletionEvent()
    copy.CopyFrom(event)
    copy.started.resumable = True
    return copy


def _is_after(step: Step, sequence: int) -> bool:
    if not isinstance(step, chat_pb2.ChatCompletionEvent):
        return True
    return step.sequence > sequence or (step.HasField("heartbeat") and step.sequence == sequence)


class _Models(models_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> models_pb2.ListModelsResponse:
        self._server.list_calls += 1
        return models_pb2.ListModelsResponse(models=[models_pb2.Model(id=name) for name in self._server.models])

    def GetModel(  # noqa: N802
        self, request: models_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> models_pb2.Model:
        return models_pb2.Model(id=request.model, context_length=2048, system_fingerprint="fp_1")


class _Operations(operations_pb2_grpc.OperationsServiceServicer):
    """Three choices run; a watch shows one more each time."""

    def GetLoad(  # noqa: N802
        self, request: operations_pb2.GetLoadRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Load:
        return operations_pb2.Load(state=operations_pb2.ServerState.SERVER_STATE_SERVING, running_choices=3)

    def WatchLoad(  # noqa: N802
        self, request: operations_pb2.WatchLoadRequest, context: grpc.ServicerContext
    ) -> Iterator[operations_pb2.Load]:
        stopped = threading.Event()
        context.add_callback(stopped.set)
        for running in range(3, 100):
            yield operations_pb2.Load(running_choices=running)
            if stopped.wait(request.interval.ToTimedelta().total_seconds()):
                return


class _Tokens(tokens_pb2_grpc.TokenServiceServicer):
    """Every code point is a token."""

    def CountTokens(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.CountTokensResponse:
        count = sum(len(message.content) for message in request.messages)
        return tokens_pb2.CountTokensResponse(prompt_tokens=count, context_length=2048)

    def RenderPrompt(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.RenderPromptResponse:
        return tokens_pb2.RenderPromptResponse(prompt="".join(message.content for message in request.messages))

    def Tokenize(  # noqa: N802
        self, request: tokens_pb2.TokenizeRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.TokenizeResponse:
        return tokens_pb2.TokenizeResponse(token_ids=[ord(letter) for letter in request.text])

    def Detokenize(  # noqa: N802
        self, request: tokens_pb2.DetokenizeRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.DetokenizeResponse:
        return tokens_pb2.DetokenizeResponse(text="".join(chr(token) for token in request.token_ids))


def _fail(failure: Failure, context: grpc.ServicerContext) -> None:
    trailers: list[tuple[str, str | bytes]] = list(failure.trailers.items())
    if failure.details:
        status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
        for detail in failure.details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(failure.code, failure.message)
