"""What the front end's watchdog hears of an engine that waits for nothing but a grammar."""

import time
from pathlib import Path

import pytest

from support.engine_loop import WAIT_S, running_loop
from support.mixed_requests import PROMPT
from support.tiny import make_model
from tokenwire.engine import loop
from tokenwire.engine.grammar.compiler import Grammar, GrammarCompiler
from tokenwire.engine.protocol import GenerationRequest, SamplingParams, Submit

ONE_WORD = SamplingParams(seed=1, max_tokens=20, grammar='start: "one"')


def test_there_are_frames_while_a_grammar_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = 0
    compile_it = GrammarCompiler.compile

    def wait_for_frames(compiler: GrammarCompiler, grammar: str) -> Grammar:
        deadline_s = time.monotonic() + WAIT_S
        while heard < 3 and time.monotonic() < deadline_s:
            time.sleep(0.001)
        return compile_it(compiler, grammar)

    monkeypatch.setattr(loop, "SIGN_OF_LIFE_S", 0.01)
    monkeypatch.setattr(GrammarCompiler, "compile", wait_for_frames)
    with running_loop(make_model(tmp_path)) as client:
        client.send(Submit(GenerationRequest("request", PROMPT, ONE_WORD)))
        reason = None
        while reason is None:
            outputs = list(client.receive())
            heard += not outputs
            reason = outputs[-1].finish_reason if outputs else None
    assert heard >= 3
