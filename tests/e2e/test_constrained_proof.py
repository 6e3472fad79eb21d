"""A sample of the proof that constrained answers are valid; tests/bench/schema_proof.py is the whole of it."""

import pytest

from e2e.conftest import CALL_TIMEOUT_S, Serving
from support.schema_corpus import schema_corpus
from support.schema_proof import MIN_COMPLETE_SHARE, prove

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

EVERY = 8


async def test_answers_to_every_eighth_schema_of_the_corpus_are_valid_and_mostly_complete(
    smollm2_server: Serving,
) -> None:
    sample = schema_corpus()[::EVERY]
    report = await prove(smollm2_server.client, sample, in_flight=16, max_tokens=200, timeout_s=CALL_TIMEOUT_S)
    assert (report.invalid, report.failed, report.refused) == ([], {}, {})
    assert report.answers >= len(sample) > 40
    assert report.complete_share >= MIN_COMPLETE_SHARE
