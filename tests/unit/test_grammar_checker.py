"""The check of grammars: what cannot be enforced is refused with the reason, and nobody else suffers for it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from support.babbler import Babbler
from support.tiny import make_tokenizer
from tokenwire.engine.grammar.checker import GrammarChecker
from tokenwire.engine.protocol import EngineStartError, GrammarError, Trial, Verdict, Vocabulary
from tokenwire.engine.wire import FrameSocket
from tokenwire.errors import EngineFaultError

WAIT_S = 60
GOOD = "start: /[a-z]{1,9}/"
SLOW = "start: s\ns: s s s s | " + " | ".join(f'"{char}" s' for char in "abcdefgh") + ' | ""'
"""Compiles at once, and every token takes long."""


def chain(length: int) -> dict[str, object]:
    """A schema whose references go this deep."""
    links = {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(length)}
    return {"$ref": "#/$defs/0", "$defs": {**links, str(length): {"type": "string"}}}


def schema(value: object) -> str:
    return f"start: %json {json.dumps(value)}"


HOSTILE = {
    "references without end": (schema(chain(5000)), "nests too deeply: it takes more than 1 MiB of stack"),
    "rules without end": (
        "start: r0\n" + "".join(f'r{i}: r{i + 1} "a"\n' for i in range(5000)) + 'r5000: "b"',
        "nests too deeply",
    ),
    "nested arrays": (schema(json.loads('{"items":' * 400 + "{}" + "}" * 400)), "recursion limit"),
    "parentheses": ("start: " + "(" * 5000 + '"a"' + ")" * 5000, "too deeply nested"),
    "parentheses of a regex": ("start: /" + "(" * 5000 + "a" + ")" * 5000 + "/", "nested parentheses"),
    "a megabyte of properties": (
        schema({"properties": {f"property {i}": {"title": "x" * 120} for i in range(7000)}}),
        "it is too long",
    ),
    "doubling": (
        "start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(30)) + 'A30: "b"',
        "memory",
    ),
    "a regex of too many states": (
        "start: A\nA: " + " & ".join(f"/.*{chr(97 + i)}.{{{10 + i}}}/" for i in range(5)),
        "fuel exhausted",
    ),
    "patterns that must all match": (
        schema({"allOf": [{"type": "string", "pattern": f".*{chr(97 + i)}.{{{i}}}"} for i in range(15)]}),
        "memory",
    ),
    "ambiguity": (SLOW, "too complex"),
    "too many alternatives": ("start: " + " | ".join(f'"{i}"' for i in range(20_000)), "too complex"),
}
WRONG = {
    "a keyword": (schema({"not": {}}), 'Unimplemented keys: ["not"]'),
    "a name": ("start: foo", 'unknown name: "foo"'),
    "a look-ahead": ("start: /(?=a)b/", "look-ahead"),
    "a schema of nothing": (schema(False), "Unsatisfiable"),
    "a token": ("start: <|nobody|>", 'unknown special token: "<|nobody|>"'),
    "Lark": ('start: "a" (', "Expected token"),
    "no grammar at all": ("", "no start rule"),
    "a list that is none": ("{}", "not a list of Lark grammars"),
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Babbler(tmp_path_factory.mktemp("babbler"), make_tokenizer).vocabulary


@pytest.fixture
async def checker(vocabulary: Vocabulary) -> AsyncIterator[GrammarChecker]:
    checker = GrammarChecker(vocabulary)
    await asyncio.wait_for(checker.start(), WAIT_S)
    yield checker
    await asyncio.wait_for(checker.stop(), WAIT_S)


def trial_process() -> psutil.Process:
    """The process that tries out grammars."""
    (process,) = [p for p in psutil.Process().children() if "tokenwire.engine.grammar.trial" in p.cmdline()]
    return process


async def refusal(checker: GrammarChecker, grammar: str) -> str:
    with pytest.raises(GrammarError) as caught:
        await asyncio.wait_for(checker.check(grammar), WAIT_S)
    return str(caught.value)


@pytest.mark.parametrize(("grammar", "reason"), [*HOSTILE.values(), *WRONG.values()], ids=[*HOSTILE, *WRONG])
async def test_what_cannot_be_enforced_is_refused_with_the_reason(
    checker: GrammarChecker, grammar: str, reason: str
) -> None:
    message = await refusal(checker, grammar)
    assert reason in message
    assert len(message) <= 300
    await asyncio.wait_for(checker.check(GOOD), WAIT_S)


@pytest.mark.timeout(WAIT_S)
def test_a_trial_that_takes_too_long_is_cut_off(vocabulary: Vocabulary) -> None:
    # What takes two seconds takes too much memory, too, as far as we know. So this process has less time.
    program = "from tokenwire.engine.grammar import trial as g; g.CPU_LIMIT_S = 0.1; g.main()"
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-c", program, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    with process, ours:
        frames = FrameSocket(ours)
        frames.send(vocabulary)
        assert frames.receive(wait=True) == [None]
        frames.send(Trial(7, "start: " + " | ".join(f'"{i}"' for i in range(20_000))))
        assert frames.receive(wait=True) == [Verdict(7, "it takes more than 2 seconds to compile")]
        frames.send(Trial(8, GOOD))
        assert frames.receive(wait=True) == [Verdict(8, None)]


async def test_hostile_grammars_hold_up_no_other(checker: GrammarChecker) -> None:
    hostile = [asyncio.create_task(checker.check(grammar)) for grammar, _ in HOSTILE.values()]
    good = [asyncio.create_task(checker.check(f"{GOOD}\n// {i}")) for i in range(10)]
    await asyncio.wait_for(asyncio.gather(*good), WAIT_S)
    outcomes = await asyncio.wait_for(asyncio.gather(*hostile, return_exceptions=True), WAIT_S)
    assert {type(outcome) for outcome in outcomes} == {GrammarError}


async def test_a_grammar_is_tried_out_once(checker: GrammarChecker) -> None:
    await asyncio.gather(*[asyncio.wait_for(checker.check(GOOD), WAIT_S) for _ in range(5)])
    message = await refusal(checker, "start: foo")
    trial_process().send_signal(signal.SIGSTOP)  # nothing can be tried out any more
    try:
        await asyncio.wait_for(checker.check(GOOD), WAIT_S)
        assert await refusal(checker, "start: foo") == message
    finally:
        trial_process().send_signal(signal.SIGCONT)


async def test_a_caller_who_gives_up_takes_the_check_from_nobody(checker: GrammarChecker) -> None:
    patient, hasty = (asyncio.create_task(checker.check(SLOW)) for _ in range(2))
    await asyncio.sleep(0)
    hasty.cancel()
    with pytest.raises(GrammarError, match="too complex"):
        await asyncio.wait_for(patient, WAIT_S)


async def test_checks_outlive_the_process(checker: GrammarChecker) -> None:
    trial_process().send_signal(signal.SIGSTOP)
    waiting = [asyncio.create_task(checker.check(f"{GOOD}\n// {i}")) for i in range(3)]
    await asyncio.sleep(0)
    trial_process().kill()
    await asyncio.wait_for(asyncio.gather(*waiting), WAIT_S)


async def test_a_check_fails_if_the_process_dies_again_and_again(
    checker: GrammarChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_process().send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(checker.check(GOOD))
    await asyncio.sleep(0)
    monkeypatch.setattr("sys.executable", "/bin/false")  # it does not start again
    trial_process().kill()
    with pytest.raises(EngineFaultError, match="keeps failing"):
        await asyncio.wait_for(waiting, WAIT_S)


async def test_checks_end_with_the_checker(vocabulary: Vocabulary) -> None:
    checker = GrammarChecker(vocabulary)
    await asyncio.wait_for(checker.start(), WAIT_S)
    trial_process().send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(checker.check(GOOD))
    await asyncio.sleep(0)
    await asyncio.wait_for(checker.stop(), WAIT_S)
    with pytest.raises(EngineFaultError, match="stopped"):
        await asyncio.wait_for(waiting, WAIT_S)


async def test_a_process_that_does_not_start_is_told(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EngineStartError, match="ended"):
        await asyncio.wait_for(GrammarChecker(vocabulary).start(), WAIT_S)
