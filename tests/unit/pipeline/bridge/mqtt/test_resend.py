import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from fakes.bridge import verdict_at
from hypothesis import given
from hypothesis import strategies as st
from rigs.topology import wait_until

from pipeline.bridge.mqtt.resend import (
    BURST,
    MOST_UNACKNOWLEDGED,
    RateLimit,
    Resender,
    find_kept,
    missing_ranges,
    shortfall,
)
from pipeline.bridge.mqtt.topics import ResendRequest, read_request
from pipeline.bridge.report import VerdictReport
from pipeline.errors import ConnectionLost
from pipeline.frames import Verdict

PAGE = 3


class KeptVerdicts:
    """Pages of verdicts, newest first."""

    def __init__(self, *seqs: int, camera: str = "cam") -> None:
        self.verdicts = [
            replace(verdict_at(seq, camera=camera), result_id=str(at))
            for at, seq in enumerate(seqs)
        ]
        self.reads = 0
        self.broken = False

    def page(self, before: str) -> list[Verdict]:
        if self.broken:
            raise ConnectionLost("away")
        self.reads += 1
        end = len(self.verdicts) if before == "+" else int(before)
        return self.verdicts[max(0, end - PAGE) : end][::-1]


def asked(first: int, last: int | None = None) -> ResendRequest:
    return ResendRequest.model_validate({"from": first, "to": last})


def find(kept: KeptVerdicts, request: ResendRequest, camera: str = "cam") -> list[int]:
    found = find_kept(kept.page, camera, request, 3, lambda: False)
    assert all(report.epoch == 3 for report in found.reports.values())
    return sorted(found.reports)


@given(st.permutations(range(12)), st.integers(0, 14), st.integers(0, 14))
def test_every_kept_verdict_of_a_request_is_found_in_whatever_order(
    seqs: list[int], first: int, more: int
) -> None:
    kept = KeptVerdicts(*seqs)
    wanted = [seq for seq in range(12) if first <= seq <= first + more]
    assert find(kept, asked(first, first + more)) == wanted
    assert find(kept, asked(first)) == list(range(first, 12))


def test_search_ends_where_all_is_found_or_the_seqs_are_far_below() -> None:
    kept = KeptVerdicts(*range(300))
    assert find(kept, asked(297, 299)) == [297, 298, 299]
    assert kept.reads == 1
    far = KeptVerdicts(*range(3000), *range(9000, 9003))
    assert find(far, asked(9000)) == [9000, 9001, 9002]
    assert far.reads == 2


def test_earlier_numbering_and_other_cameras_are_passed_over() -> None:
    kept = KeptVerdicts(*range(9000, 9006), *range(3))
    assert find(kept, asked(0, 999)) == [0, 1, 2]
    assert find(kept, asked(9000)) == []
    assert find(kept, asked(0), camera="side") == []


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
def test_missing_ranges_and_what_is_there_make_up_the_whole(there: set[int], last: int) -> None:
    ranges = missing_ranges(0, last, there)
    listed = [seq for first, end in ranges for seq in range(first, end + 1)]
    assert sorted([*listed, *(seq for seq in there if seq <= last)]) == list(range(last + 1))
    assert all(end + 1 < after for (_, end), (after, _) in pairwise(ranges))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (asked(5, 9), {}),
        (asked(5), {}),
        (asked(4, 9), {"error": "not_kept", "missing": [[4, 4]], "missing_ranges": 1}),
        (asked(5, 11), {"error": "not_kept", "missing": [[10, 11]], "missing_ranges": 1}),
        (asked(10), {"error": "not_kept", "missing": []}),
    ],
)
def test_client_learns_which_seqs_it_did_not_get(
    request_: ResendRequest, error: dict[str, Any]
) -> None:
    found = find_kept(KeptVerdicts(*range(5, 10)).page, "cam", request_, 1, lambda: False)
    said = shortfall(request_, found)
    assert {name: value for name, value in said.items() if name != "message"} == error


def test_client_learns_that_there_is_more() -> None:
    found = find_kept(KeptVerdicts(*range(1002)).page, "cam", asked(0), 1, lambda: False)
    assert len(found.reports) == 1000
    assert shortfall(asked(0), found)["next"] == 1000


def test_rate_limit_lets_a_burst_pass_and_then_one_a_second() -> None:
    now_s = 0.0
    limit = RateLimit(3, 1, lambda: now_s)
    assert [limit.allows() for _ in range(4)] == [True, True, True, False]
    now_s = 1.0
    assert [limit.allows() for _ in range(2)] == [True, False]
    now_s = 100.0
    assert [limit.allows() for _ in range(4)] == [True, True, True, False]


class Answers:
    """What a resender sent and refused."""

    def __init__(self, kept: KeptVerdicts) -> None:
        self.sent: list[int] = []
        self.unacknowledged: list[Callable[[], None]] = []
        self.refused: list[dict[str, Any]] = []
        self.refusal = threading.Event()
        self.resender = Resender(kept.page, lambda _: 1, self._send, self._refuse, lambda: 0.0)

    def _send(self, report: VerdictReport, acknowledged: Callable[[], None]) -> None:
        self.sent.append(report.seq)
        self.unacknowledged.append(acknowledged)

    def _refuse(self, camera: str, fields: dict[str, Any]) -> None:
        assert camera == "cam"
        self.refused.append(fields)
        self.refusal.set()


def test_unacknowledged_repetitions_are_bounded() -> None:
    answers = Answers(KeptVerdicts(*range(200)))
    answers.resender.start()
    try:
        answers.resender.ask("cam", b'{"from": 0, "to": 199}')
        wait_until(lambda: len(answers.sent) == MOST_UNACKNOWLEDGED)
        while len(answers.sent) < 200 or answers.unacknowledged:
            assert len(answers.unacknowledged) <= MOST_UNACKNOWLEDGED
            if answers.unacknowledged:
                answers.unacknowledged.pop(0)()
        assert answers.sent == list(range(200))
    finally:
        answers.resender.stop()


def test_redis_that_does_not_answer_is_told_and_the_next_request_is_answered() -> None:
    kept = KeptVerdicts(1)
    kept.broken = True
    answers = Answers(kept)
    answers.resender.start()
    try:
        answers.resender.ask("cam", b'{"from": 1}')
        assert answers.refusal.wait(10)
        assert answers.refused[0]["error"] == "unavailable"
        kept.broken = False
        answers.resender.ask("cam", b'{"from": 1}')
        wait_until(lambda: answers.sent == [1])
    finally:
        answers.resender.stop()


def test_too_many_requests_are_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers(KeptVerdicts(1))  # not started: requests wait
    for _ in range(int(BURST) + 5):
        answers.resender.ask("cam", b'{"from": 1}')
    assert [fields["error"] for fields in answers.refused] == ["busy", "busy"]
    answers.resender.stop()
    dropped = [one for one in caplog.records if one.message == "mqtt.requests_dropped"]
    assert sum(one.__dict__["verdicts"] for one in dropped) == 5


def test_request_of_the_docs_is_read() -> None:
    assert read_request(b'{"from": 120, "to": 140}') == asked(120, 140)
