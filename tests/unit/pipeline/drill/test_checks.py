"""What the drill counts by itself."""

from pathlib import Path

import pytest
from rigs.line import head_of, judgement_of

from pipeline.drill.checks import VerdictCounter
from pipeline.drill.pictures import VARIETY, write_engine
from pipeline.frames import Decision
from pipeline.streams.result_reader import read_result
from pipeline.wire import encode_judgement

GOOD, BAD = Decision.OK, Decision.NG


def count(counter: VerdictCounter, seq: int, said: Decision, waited_ms: int = 1) -> None:
    judgement = encode_judgement(judgement_of(said, 0.9 if said is BAD else 0.1))
    fields = {
        b"k": said.value.encode(),
        b"e": b"1000-0",
        b"m": head_of("cam", seq, 1),
        b"j": judgement,
    }
    counter.add(read_result((b"%d-0" % (1000 + waited_ms), fields)))


@pytest.fixture
def counter() -> VerdictCounter:
    return VerdictCounter(2, [GOOD, BAD])


def test_line_that_keeps_its_promises_is_whole(counter: VerdictCounter) -> None:
    count(counter, 0, GOOD)
    assert counter.broken() == ["1 parts without a verdict"]
    count(counter, 1, BAD)
    assert counter.broken() == []


def test_wrong_repeated_and_foreign_verdicts_are_told(counter: VerdictCounter) -> None:
    count(counter, 0, BAD)
    count(counter, 1, BAD)
    count(counter, 1, BAD)
    count(counter, 2, GOOD)
    assert counter.broken() == [
        "1 parts with two verdicts",
        "1 verdicts of no part",
        "1 verdicts that are wrong for the part",
    ]


def test_wait_counts_without_the_time_that_redis_was_away(counter: VerdictCounter) -> None:
    count(counter, 0, GOOD, 12_000)
    count(counter, 1, BAD, 13_000)
    assert counter.broken() == ["2 verdicts later than 10 s after admission, Redis up"]
    away = [(0.0, 3_000.0), (12_500.0, 13_500.0)]
    assert counter.longest_wait_ms(away) == 10_000
    assert counter.broken(away) == ["1 verdicts later than 10 s after admission, Redis up"]
    assert counter.broken([(1_000.0, 14_000.0)]) == []


def test_drill_knows_which_of_its_pictures_are_bad(tmp_path: Path) -> None:
    expected = write_engine(tmp_path / "drill.fixed", 64)
    assert len(expected) == VARIETY
    assert VARIETY // 4 <= expected.count(BAD) <= 3 * VARIETY // 4
