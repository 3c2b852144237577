"""A scorer between tray and writer, all in this process."""

import queue
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.admission.timing import CostCurve
from engines.engine import ALL_MAPS, GRID, Pixels, Scores, summarise_maps
from engines.errors import ScoringError
from engines.manifest import CostPoint, Thresholds
from pipeline.frames import EngineName
from pipeline.streams.frame_consumer import Entry
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.batching import WaitingFrame
from pipeline.worker.context import Outbox, RejectedFrames, ScoredBatch, Shutdown
from pipeline.worker.in_flight import InFlight, InFlightFrame
from pipeline.worker.judge import DecisionThresholds, checked_summary
from pipeline.worker.scorer import FAILURES_TO_STOP, Scorer

WAIT_S = 10.0


class QuickEngine:
    max_batch = 4
    input_size = (2, 2)

    def close(self) -> None: ...

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        del maps_above
        return Scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 2, 2), np.float32))


class GoneEngine(QuickEngine):
    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        del maps_above
        raise ScoringError(f"no device for {len(frames)} frames")


class SlowWriter:
    """Publishes in the caller's thread, and takes its time over it."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.published: list[str] = []

    def publish_ms(self) -> float:
        return 1.0

    def try_publish(self, scored: ScoredBatch) -> bool:
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        self.published += [frame.entry.entry_id for frame in scored.batch]
        return True


def held(entry_id: str) -> InFlightFrame:
    now = time.time_ns()
    waiting = WaitingFrame(now + 60_000_000_000, now)
    pixels = np.zeros((2, 2, 3), np.uint8)
    return InFlightFrame(Entry(entry_id, b"", None, 0), None, pixels, waiting)  # type: ignore[arg-type]


def test_frame_that_comes_while_another_is_published_at_once_is_scored_after_it() -> None:
    in_flight, writer = InFlight(lambda: 4), SlowWriter()
    outbox: Outbox = queue.SimpleQueue()
    post: Any = SimpleNamespace(in_flight=in_flight, outbox=outbox, shutdown=Shutdown())
    loaded = serving_of("quick", QuickEngine())
    thresholds = DecisionThresholds(0.5, 0.5)
    scorer = Scorer(post, ActiveEngine(loaded), 0, 0.0, writer, lambda _: thresholds)  # type: ignore[arg-type]
    scoring = threading.Thread(target=scorer.run)
    scoring.start()
    reading = threading.Thread(target=scorer.try_score, args=(held("1-0"),))
    reading.start()
    assert writer.begun.wait(WAIT_S)
    in_flight.add_frame(held("2-0"))
    time.sleep(0.1)  # the scorer finds the engine busy
    writer.go_on.set()
    deadline = time.monotonic() + WAIT_S
    while len(writer.published) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    published = list(writer.published)
    in_flight.close()
    scoring.join(WAIT_S)
    reading.join(WAIT_S)
    assert published == ["1-0", "2-0"]


def serving_of(name: str, engine: QuickEngine) -> LoadedEngine:
    thresholds = Thresholds(image=0.5, pixel=0.5, method="chosen", normals=0)
    curve = CostCurve.through([CostPoint(batch=1, median_ms=1, p99_ms=1)])
    return LoadedEngine(EngineName(name, "1", "0"), thresholds, (engine,), curve, 4, name)


@pytest.mark.parametrize("on_probation", [True, False])
def test_engine_that_is_gone_gives_way_to_the_old_one_while_it_is_on_probation(
    *, on_probation: bool
) -> None:
    shutdown, outbox = Shutdown(), queue.SimpleQueue[ScoredBatch | RejectedFrames | None]()
    post: Any = SimpleNamespace(in_flight=InFlight(lambda: 4), outbox=outbox, shutdown=shutdown)
    active = ActiveEngine(serving_of("old", QuickEngine()))
    active.activate(serving_of("new", GoneEngine()), on_probation=on_probation)
    thresholds = DecisionThresholds(0.5, 0.5)
    writer: Any = SlowWriter()
    writer.go_on.set()
    scorer = Scorer(post, active, 0, 0.0, writer, lambda _: thresholds)
    for number in range(FAILURES_TO_STOP):
        assert scorer.try_score(held(f"{number}-0"))
    assert active.current.version == ("old" if on_probation else "new")
    assert shutdown.draining.is_set() is not on_probation
    if on_probation:
        assert scorer.try_score(held("11-0"))
        assert writer.published == ["11-0"]


class SparingEngine(QuickEngine):
    """Leaves maps out that are not asked for, and writes into the same arrays again and again."""

    def __init__(self) -> None:
        self.maps = np.zeros((4, 2, 2), np.float32)
        self.asked: list[float] = []
        self.thresholds = DecisionThresholds(0.5, 51 / 255)  # in force

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        self.asked.append(maps_above)
        self.thresholds = DecisionThresholds(0.9, 0.9)  # too late for this batch
        maps = self.maps[: len(frames)]
        maps[...] = frames[..., 1] / np.float32(255)
        summary = summarise_maps(maps)
        maps[summary.peak <= maps_above] = np.nan
        score = np.zeros(len(frames), np.float32)
        return Scores(score, maps, summary=summary)


def test_only_frames_with_a_pixel_above_the_threshold_carry_a_map() -> None:
    in_flight, outbox = (
        InFlight(lambda: 4),
        queue.SimpleQueue[ScoredBatch | RejectedFrames | None](),
    )
    post: Any = SimpleNamespace(in_flight=in_flight, outbox=outbox, shutdown=Shutdown())
    engine = SparingEngine()
    writer: Any = SimpleNamespace(publish_ms=lambda: 1.0, try_publish=lambda _: False)
    scorer = Scorer(
        post, ActiveEngine(serving_of("a", engine)), 0, 0.0, writer, lambda _: engine.thresholds
    )
    greens = (51, 102, 0)  # the first is at the threshold
    batch = [held(f"{place}-0") for place in range(3)]
    for each, green in zip(batch, greens, strict=True):
        each.pixels[1, 0, 1] = green
    scorer._score(batch)
    scored: Any = outbox.get_nowait()
    engine.maps[...] = np.nan  # the next batch takes their place
    assert engine.asked == [51 / 255]
    assert scored.thresholds == DecisionThresholds(0.5, 51 / 255)
    assert [row.anomaly_map is None for row in scored.frame_scores] == [True, False, True]
    np.testing.assert_array_equal(
        scored.frame_scores[1].anomaly_map,
        np.array([[0, 0], [102, 0]], np.float32) / np.float32(255),
    )
    for row, green in zip(scored.frame_scores, greens, strict=True):
        assert len(row.cells) == GRID**2
        assert max(row.cells) == pytest.approx(green / 255)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["score", "map", "distance", "peak", "cells"])
def test_what_is_no_number_is_refused_wherever_it_stands(where: str, value: float) -> None:
    maps = np.zeros((3, 8, 8), np.float32)
    score, distance = np.zeros(3, np.float32), np.zeros((3, 3), np.float32)
    summary = summarise_maps(maps)
    arrays = {"score": score, "map": maps, "distance": distance}
    arrays |= {"peak": summary.peak, "cells": summary.cells}
    arrays[where].flat[-1] = value
    own = summary if where in ("peak", "cells") else None
    scores = Scores(score, maps, distance=distance, summary=own)
    with pytest.raises(ScoringError, match="no number"):
        checked_summary(scores)
    arrays[where].flat[-1] = 0
    assert checked_summary(scores).peak.tolist() == [0, 0, 0]
