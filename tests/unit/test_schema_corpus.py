"""Random walks through the masks of every schema of the corpus: whatever is let through is valid."""

import json
import random

from llguidance import LLMatcher, LLTokenizer

from support.schema_corpus import schema_corpus
from support.schema_judge import SchemaJudge
from tokenwire.chat.constraint.rule import json_rule
from tokenwire.chat.constraint.schema_gaps import gaps

WALKS = 5
MAX_BYTES = 2000
BYTES = LLTokenizer("byte")
CLOSING = frozenset(b'"]}') | {BYTES.eos_token}


def test_the_corpus_has_over_300_different_schemas_and_nothing_of_them_is_refused() -> None:
    corpus = schema_corpus()
    assert len({json.dumps(case.schema) for case in corpus}) == len(corpus) > 300
    assert [(case.schema, found) for case in corpus if (found := gaps(case.schema))] == []


def test_whatever_bytes_the_grammar_of_a_schema_allows_they_make_a_valid_answer() -> None:
    draw = random.Random(0)
    for case in schema_corpus():
        matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark("start: " + json_rule(case.schema)))
        judge = SchemaJudge(case.schema)
        for _ in range(WALKS):
            matcher.reset()
            answer = walk(matcher, draw)
            assert judge.problem(answer.decode()) is None, (answer, case.schema)


def walk(matcher: LLMatcher, draw: random.Random) -> bytes:
    """A random answer; closing marks are likely, so that it ends."""
    answer = bytearray()
    while len(answer) < MAX_BYTES and not matcher.is_stopped():
        allowed = [token for token, bias in enumerate(matcher.compute_logit_bias()) if bias]
        assert allowed, (matcher.get_error(), bytes(answer))
        (token,) = draw.choices(allowed, [8 if token in CLOSING else 0.1 if token > 127 else 1 for token in allowed])
        if token == BYTES.eos_token:
            break
        assert matcher.consume_token(token)
        answer.append(token)
    assert matcher.is_accepting(), bytes(answer)
    return bytes(answer)
