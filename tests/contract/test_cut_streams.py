"""The short form of the proof that a stream which is cut and resumed gives the uncut answer."""

from pathlib import Path

from chaos.cut_streams import run
from support.tiny import make_model


async def test_streams_that_are_cut_at_random_points_give_the_uncut_answers(tmp_path: Path) -> None:
    outcome = await run(make_model(tmp_path), streams=20, weights="fp32", seed=1)
    assert outcome.failures == []
    assert outcome.counts["streams"] == 20
    assert outcome.counts["cuts"] >= 20
    assert outcome.counts["streams that were cut several times"] >= 5
