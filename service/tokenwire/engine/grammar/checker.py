"""The front end's handle of the process that tries out grammars: starts it, asks it, remembers what it said."""

import asyncio
import hashlib
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from tokenwire.engine.protocol import EngineStartError, GrammarError, Trial, Verdict, Vocabulary
from tokenwire.engine.wire import PeerGoneError, encode_frame, read_frame
from tokenwire.errors import EngineFaultError

MAX_REMEMBERED = 4096
MAX_DEATHS = 3
"""How often the process may die while it has a grammar."""
RESTART_PAUSE_S = 0.5
"""After a start that failed."""


@dataclass(eq=False, slots=True)
class _Question:
    """A grammar that is being tried out, and those who wait for it."""

    trial: Trial
    answer: asyncio.Future[Verdict] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    deaths: int = 0


class GrammarChecker:
    """Says whether grammars can be enforced. Whatever they are, nothing but their own check suffers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_ready = False
        self._serving: asyncio.Task[None] | None = None
        self._trial_ids = count()
        self._questions: dict[str, _Question] = {}  # by grammar
        self._remembered: OrderedDict[bytes, str | None] = OrderedDict()

    async def start(self) -> None:
        """Start the process and wait until it takes grammars. Raises `EngineStartError`."""
        try:
            reader = await self._spawn()
        except BaseException as error:  # a cancelled start, too, must leave no process
            await self._end_process()
            if isinstance(error, PeerGoneError):
                raise EngineStartError("the process that checks grammars ended; its log says why") from None
            raise
        self._serving = asyncio.create_task(self._serve(reader))

    async def check(self, grammar: str) -> None:
        """As `Engine.check_grammar`. Raises `EngineFaultError`, too, where the process keeps failing or is stopped."""
        key = hashlib.blake2b(grammar.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in self._remembered:
            self._remembered.move_to_end(key)
            refusal = self._remembered[key]
        else:
            verdict = await asyncio.shield(self._ask(grammar).answer)
            refusal = verdict.refusal
            if verdict.is_lasting:
                self._remembered[key] = refusal
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        if refusal is not None:
            raise GrammarError(refusal)

    async def stop(self) -> None:
        """End the process; checks that still wait fail. Can be called twice."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        await self._end_process()

    def _ask(self, grammar: str) -> _Question:
        if grammar not in self._questions:
            question = self._questions[grammar] = _Question(Trial(next(self._trial_ids), grammar))
            self._send(question)
        return self._questions[grammar]

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                command = [sys.executable, "-P", "-m", "tokenwire.engine.grammar.trial", str(theirs.fileno())]
                self._process = await asyncio.create_subprocess_exec(
                    *command, pass_fds=[theirs.fileno()], stdin=DEVNULL
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        self._writer.write(encode_frame(self._vocabulary))
        await read_frame(reader)
        self._is_ready = True
        return reader

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        """Hand out verdicts. When the process dies, start another one and ask it the open questions again."""
        try:
            while True:
                with suppress(PeerGoneError):
                    while True:
                        self._answer(await read_frame(reader))
                await self._end_process()
                for question in self._questions.values():
                    question.deaths += 1
                worn_out = [grammar for grammar, question in self._questions.items() if question.deaths == MAX_DEATHS]
                self._fail(worn_out, "the process that checks grammars keeps failing")
                try:
                    reader = await self._spawn()
                except PeerGoneError:
                    await asyncio.sleep(RESTART_PAUSE_S)
                    continue
                for question in self._questions.values():
                    self._send(question)
        finally:
            self._fail(list(self._questions), "the process that checks grammars was stopped")

    def _answer(self, verdict: Verdict) -> None:
        grammar = next(g for g, question in self._questions.items() if question.trial.trial_id == verdict.trial_id)
        self._questions.pop(grammar).answer.set_result(verdict)

    def _fail(self, grammars: Iterable[str], reason: str) -> None:
        for grammar in grammars:
            answer = self._questions.pop(grammar).answer
            answer.set_exception(EngineFaultError(reason))
            answer.exception()  # if all who waited are gone, nobody else looks

    def _send(self, question: _Question) -> None:
        if self._writer is not None and self._is_ready:  # or else it is asked when the process has started again
            self._writer.write(encode_frame(question.trial))

    async def _end_process(self) -> None:
        self._is_ready = False
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
