"""One live request in the front end: what it asked, how far it has come, and the outputs that are not read yet."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tokenwire.engine.protocol import Abort, Command, FinishReason, GenerationRequest, Resumption, SequenceOutput
from tokenwire.engine.turns import Turns
from tokenwire.errors import EngineFaultError


class LiveGeneration:
    """Implements `tokenwire.engine.protocol.Generation`.

    It outlives the engine process that works on it: `submission` is what the next one needs to go on.
    """

    def __init__(
        self,
        request: GenerationRequest,
        *,
        send: Callable[[Command], None],
        forget: Callable[[str], None],
        turns: Turns,
    ) -> None:
        """`send` takes commands to the engine process of the moment; `forget` is called once no sequence is open."""
        self.request_id = request.request_id
        self.is_sent = False
        """Whether the engine process of the moment has it."""
        self.deaths = 0
        """Engine processes that had it and died, since it gave something."""
        self._request = request
        self._tokens: dict[int, list[int]] = {index: [] for index, _ in request.open_sequences}
        """Of the open sequences, by index."""
        self._num_closed_tokens = 0
        self._num_scored = 0
        self._newest: SequenceOutput | None = None
        self._send = send
        self._forget = forget
        self._turns = turns
        self._outputs: list[SequenceOutput] = []
        self._run_index: int | None = None  # choice of the last output, where that is nothing but tokens
        self._run: list[int] = []  # what more of the kind has come behind it: a few steps a message are the rule
        self._arrived = asyncio.Event()
        self._was_read = False
        self._failure: EngineFaultError | None = None

    async def receive(self) -> tuple[SequenceOutput, ...]:
        """As `Generation.receive`."""
        if not self._outputs and self._failure is None:
            self._arrived.clear()
            await self._arrived.wait()
        await self._turns.take(is_first=not self._was_read)
        self._was_read = True
        self._join_run()
        if not self._outputs and self._failure is not None:
            raise self._failure
        outputs, self._outputs = tuple(self._outputs), []
        return outputs

    def wake(self) -> None:
        """As `Generation.wake`."""
        self._arrived.set()

    def abort(self, index: int | None = None) -> int:
        """As `Generation.abort`."""
        if index is None:
            self.wake()
        dropped = [open_index for open_index in self._tokens if index is None or open_index == index]
        if dropped and self.is_sent:
            self._send(Abort(self.request_id, index))
        self._close(dropped)
        self._join_run()
        unread = self._outputs
        self._outputs = [output for output in unread if index is not None and output.index != index]
        return _num_tokens(unread) - _num_tokens(self._outputs)

    def extend(self, row: tuple[Any, ...]) -> bool:
        """Take an output, as the tuple that it is, if it is nothing but more tokens of the choice whose output was the
        last one; else it has to be added. So is most of what engines give, and tokens of several steps are read
        together."""
        _, index, token_ids, logprobs, finish_reason, _, _, prompt_logprobs = row
        if index != self._run_index or logprobs or finish_reason or prompt_logprobs or not token_ids:
            return False
        self._tokens[index] += token_ids
        self._run += token_ids
        self.deaths = 0
        return True

    def add(self, output: SequenceOutput) -> None:
        """Take an output from a step frame; those of dropped sequences are left out."""
        tokens = self._tokens.get(output.index)
        if tokens is None or output.finish_reason is FinishReason.ABORTED:
            return
        tokens += output.token_ids
        self._newest = output
        self.deaths = 0
        self._join_run()
        self._run_index = output.index if _is_plain(output) else None
        self._num_scored += len(output.prompt_logprobs)
        self._outputs.append(output)
        self._arrived.set()
        if output.finish_reason is not None:
            self._close([output.index])

    def fail(self, message: str) -> None:
        """It will not go on."""
        num_tokens = self._num_closed_tokens + sum(map(len, self._tokens.values()))
        self._failure = EngineFaultError(message, completion_id=self.request_id, tokens_emitted=num_tokens)
        self._arrived.set()

    def submission(self) -> GenerationRequest:
        """The request, as an engine process needs it that knows nothing of it."""
        request, newest = self._request, self._newest
        if newest is None and len(self._tokens) == request.n:
            return request
        resumption = Resumption(
            generated=tuple((index, tuple(tokens)) for index, tokens in self._tokens.items()),
            num_scored=self._num_scored,
            cached_tokens=None if newest is None else newest.cached_tokens,
            queue_s=0.0 if newest is None else newest.queue_s,
        )
        return replace(request, resumption=resumption)

    def _join_run(self) -> None:
        if self._run:
            last = self._outputs[-1]
            self._outputs[-1] = last._replace(token_ids=(*last.token_ids, *self._run))
            self._run = []
        self._run_index = None

    def _close(self, indices: list[int]) -> None:
        self._join_run()
        for index in indices:
            self._num_closed_tokens += len(self._tokens.pop(index))
        if not self._tokens:
            self._forget(self.request_id)


def _is_plain(output: SequenceOutput) -> bool:
    """Whether it is nothing but tokens."""
    return bool(
        output.token_ids and not output.logprobs and output.finish_reason is None and not output.prompt_logprobs
    )


def _num_tokens(outputs: Sequence[SequenceOutput]) -> int:
    return sum([len(output.token_ids) for output in outputs])
