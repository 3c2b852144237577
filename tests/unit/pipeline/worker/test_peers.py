"""What a worker concludes from the heartbeats of the others."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.frames import EngineName
from pipeline.wire import encode_report
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.peers import MOST_MISFITS, PeerComparison
from pipeline.worker.reader import EntryDecoder

OURS, THEIRS = "a" * 64, "b" * 64


class Line:
    """One worker whose engine takes 64 x 64, and what the others say."""

    def __init__(self, promoted: str = "") -> None:
        self.beats: dict[str, bytes] = {}
        self.decoder = SimpleNamespace(misfits=0, misfit_shape=None)
        engine = SimpleNamespace(input_size=(64, 64))
        loaded = SimpleNamespace(
            name=EngineName("protoad", "1", OURS), version=promoted, lanes=(engine,)
        )
        self.zones = ""
        self.comparison = PeerComparison(
            lambda: self.beats,
            cast("ActiveEngine", SimpleNamespace(current=loaded)),
            cast("EntryDecoder", self.decoder),
            lambda: self.zones,
        )

    def peer(self, name: str, sha256: str = OURS, **fields: object) -> None:
        report: dict[str, object] = {
            "engine": "protoad",
            "version": "2",
            "sha256": sha256,
            **fields,
        }
        self.beats[name] = encode_report(report)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


def test_other_engine_by_hand_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    line.peer("b", THEIRS)
    line.comparison.look()
    assert "b" * 12 in vars(caplog.records[0])["theirs"]
    assert events(caplog) == ["engines.differ"]
    line.comparison.look()
    assert events(caplog) == []
    line.peer("b", OURS)
    line.comparison.look()
    line.peer("b", THEIRS)
    line.comparison.look()
    assert events(caplog) == ["engines.differ"]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"), [("v1", "v2", []), ("", "v2", ["engines.differ"])]
)
def test_engines_of_one_registry_may_differ_for_a_while(
    ours: str, theirs: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(ours)
    line.peer("b", THEIRS, promoted=theirs)
    line.comparison.look()
    assert events(caplog) == said


def test_worker_whose_engine_does_not_fit_leaves_the_frames_to_one_that_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = Line()
    line.decoder.misfits, line.decoder.misfit_shape = MOST_MISFITS, (96, 96)
    line.peer("b", input_size=[96, 96], misfit=False)
    line.comparison.look()
    line.comparison.look()
    assert "96x96" in line.comparison.misfit
    assert events(caplog) == ["worker.misfit"]
    del line.beats["b"]
    line.comparison.look()
    assert line.comparison.misfit == ""
    assert events(caplog) == ["worker.takes_again"]


@pytest.mark.parametrize(
    ("misfits", "peer"),
    [
        (MOST_MISFITS - 1, {"input_size": [96, 96]}),
        (MOST_MISFITS, {"input_size": [64, 64]}),
        (MOST_MISFITS, {"input_size": [96, 96], "misfit": True}),
        (MOST_MISFITS, {}),  # an older worker: it does not say
    ],
)
def test_worker_goes_on_where_no_other_is_known_to_judge(
    misfits: int, peer: dict[str, Any]
) -> None:
    line = Line()
    line.decoder.misfits, line.decoder.misfit_shape = misfits, (96, 96)
    line.peer("b", **peer)
    line.comparison.look()
    assert line.comparison.misfit == ""


def test_heartbeat_that_cannot_be_read_is_passed_over() -> None:
    line = Line()
    line.beats["b"] = b"\xff"
    line.comparison.look()
    assert line.comparison.misfit == ""


def test_other_zones_are_said_once_they_last(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    line.zones = "c" * 64
    line.peer("b", zones="d" * 64)
    line.comparison.look()
    assert events(caplog) == []  # it may be about to take the changed file
    line.comparison.look()
    assert vars(caplog.records[0])["theirs"] == "d" * 12
    assert events(caplog) == ["zones.differ"]
    line.comparison.look()
    line.peer("b", zones="c" * 64)
    line.comparison.look()
    assert events(caplog) == []


def test_worker_without_zones_differs_from_one_with_them(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    line.peer("b", zones="d" * 64)
    for _ in range(2):
        line.comparison.look()
    assert vars(caplog.records[0])["ours"] == "none"
