"""The course of one streamed completion over one call or, where it resumes, over several; without any I/O."""

import random
import time

import grpc

from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    ChatCompletionEvent,
    ChatCompletionRequest,
    OnDisconnect,
    ResumeChatCompletionRequest,
)
from tokenwire_client._stream import StreamReader, StreamUpdate
from tokenwire_client.errors import from_rpc_error

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
MAX_OUTAGE_S = 60.0
"""A server that is not reached for so long is given up: by default it keeps no completion for longer."""

CANCEL_TIMEOUT_S = 2.0
"""Longest that somebody who leaves a stream waits for the server to be told."""

_CONNECTION_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_MAY_GO_ON = ("SLOW_CONSUMER", "DEADLINE_EXCEEDED")
"""Reasons of the server that end a stream of a completion that detaches, and not the completion."""


StreamRequest = ChatCompletionRequest | ResumeChatCompletionRequest
"""What asks for a stream."""


class Course:
    """What is asked next, and what is done when a call ends."""

    def __init__(self, request: StreamRequest, *, timeout_s: float | None, resumes: bool) -> None:
        """`timeout_s` bounds all calls together. A chat request that `resumes` is changed: it detaches."""
        self.request = request
        """What to ask next."""
        self.is_over = not resumes
        """The stream is not resumed, and the server need not be told that it is left."""
        self._reader = StreamReader()
        self._resumes = resumes
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._target = CancelChatCompletionRequest()
        self._lost_s: float | None = None
        self._num_losses = 0
        if isinstance(request, ChatCompletionRequest):
            self._can_resume = False
            self._target.request_id = request.request_id
            if resumes:
                request.execution_policy.on_disconnect = OnDisconnect.ON_DISCONNECT_DETACH
        else:
            self._can_resume = resumes
            self._target.completion_id = request.completion_id
            if request.HasField("after_sequence"):
                self._reader = StreamReader(after_sequence=request.after_sequence)

    @property
    def time_left_s(self) -> float | None:
        """For the next call; None: no limit."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())

    def take(self, event: ChatCompletionEvent) -> StreamUpdate:
        """The next event."""
        if self._resumes:
            self._note(event)
        return self._reader.take(event)

    def end(self) -> None:
        """The call ended with status OK. Raises `StreamGrammarError` where something is missing."""
        self._reader.end()
        self.is_over = True

    def resume_after_s(self, error: grpc.RpcError) -> float:
        """The call failed: seconds after which to ask again. Raises the error where that is of no use."""
        if self.is_over:
            raise error
        reason = from_rpc_error(error).reason
        if not self._can_resume or (reason and reason not in _MAY_GO_ON):
            self.is_over = True
            raise error
        now_s = time.monotonic()
        if self._lost_s is None:
            self._lost_s = now_s
        if reason or error.code() not in _CONNECTION_LOST or now_s - self._lost_s > MAX_OUTAGE_S:
            raise error
        delay_s = min(FIRST_DELAY_S * 2.0**self._num_losses, MAX_DELAY_S) * random.uniform(0.5, 1.0)
        self._num_losses += 1
        return delay_s if self.time_left_s is None else min(delay_s, self.time_left_s)

    def leave(self) -> CancelChatCompletionRequest | None:
        """The stream is left: what to tell the server, or None where it knows."""
        if self.is_over:
            return None
        self.is_over = True
        return self._target

    def _note(self, event: ChatCompletionEvent) -> None:
        self._num_losses, self._lost_s = 0, None
        if event.HasField("started"):
            self._can_resume = event.started.resumable
            self._target.completion_id = event.started.id
            self.request = ResumeChatCompletionRequest(completion_id=event.started.id)
        if isinstance(self.request, ResumeChatCompletionRequest):
            self.request.after_sequence = event.sequence
