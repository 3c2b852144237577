import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rigs.worker import CURSED, SIDE, WAIT_S, Bench, until

from pipeline.archive import Archive, ArchivedFrame
from pipeline.codecs import Codec
from pipeline.frames import FrameMeta, Reason
from pipeline.ring.ring import RingWriter
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.frame_consumer import Answer, FrameConsumer
from pipeline.streams.keys import LineLimits
from pipeline.telemetry import Telemetry
from pipeline.wire import FrameHeader, encode_frame_header
from pipeline.worker.archiver import Archiver, RetentionPolicy

NEAR_ONLY = RetentionPolicy(share=0.0, near=0.05, most_bytes=1 << 30, most_age_s=1e9)
ALL = RetentionPolicy(share=1.0, near=0.0, most_bytes=1 << 30, most_age_s=1e9)


class Gate(Archive):
    """Stores nothing before it is opened."""

    def __init__(self, folder: Path, line: str) -> None:
        super().__init__(folder, line)
        self.open = threading.Event()
        self.open.set()

    def store(self, frame: ArchivedFrame, *, by_chance: bool) -> int:
        assert self.open.wait(WAIT_S)
        return super().store(frame, by_chance=by_chance)


@pytest.fixture
def bench(url: str, line: str, tmp_path: Path) -> Iterator[Bench]:
    with open_connection(Access(url), tmp_path) as connection:
        yield Bench(connection, line, LineLimits())


@pytest.fixture
def archive(bench: Bench, tmp_path: Path) -> Gate:
    return Gate(tmp_path / "archive", bench.line)


def keep(bench: Bench, archive: Archive, policy: RetentionPolicy) -> None:
    bench.archiver = Archiver(archive, bench.line, policy, Telemetry(bench.line))


def archived(archive: Archive) -> dict[int, ArchivedFrame]:
    found = [archive.find(entry_id) for entry_id in archive.entries()]
    return {frame.verdict["seq"]: frame for frame in found if frame is not None}


def test_worker_archives_what_is_worth_a_label(bench: Bench, archive: Archive) -> None:
    keep(bench, archive, NEAR_ONLY)
    with bench.worker():
        for seq, green in enumerate((50, 200, 124)):  # clearly OK; NG; OK, just under 0.5
            bench.offer(seq, green, red=3, codec=Codec.PNG)
        bench.offer(3, red=CURSED)
        bench.offer_bytes(4, Codec.RAW, b"short")  # no pixels to keep
        verdicts = bench.wait_for(5)
    frames = archived(archive)
    assert sorted(frames) == [1, 2, 3]
    assert np.array_equal(frames[1].pixels, np.full((SIDE, SIDE, 3), (3, 200, 0), np.uint8))
    assert [frames[seq].verdict["decision"] for seq in (1, 2, 3)] == ["NG", "OK", "UNKNOWN"]
    assert frames[3].verdict["reason"] == "ENGINE"
    for seq, frame in frames.items():
        assert frame.entry_id == verdicts[seq].entry_id
        assert frame.verdict["part_id"] == f"part-{seq}"
    assert frames[1].verdict["mask"] == {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}


def test_pixels_are_those_of_the_verdict_though_slots_and_arrays_are_used_again(
    bench: Bench, archive: Gate
) -> None:
    keep(bench, archive, ALL)
    archive.open.clear()  # nothing is written before everything was answered
    writer = RingWriter.create(f"prn-test-{bench.line}-{time.time_ns()}", 2, SIDE * SIDE * 3)
    try:
        with bench.worker():
            for seq in range(12):
                until(lambda: len(writer.holds()) < 2)
                place = writer.write(np.full((SIDE, SIDE, 3), 20 * seq, np.uint8), seq)
                assert place is not None
                now = time.time_ns()
                meta = FrameMeta("cam", seq, "part", now, now + 10**11)
                head = encode_frame_header(FrameHeader(meta, Codec.RING, (SIDE, SIDE), place))
                bench.producer.offer(seq, head, b"", 768, 10**11, "", shed=False)
            bench.wait_for(12)
            archive.open.set()
    finally:
        writer.close()
    frames = archived(archive)
    assert sorted(frames) == list(range(12))
    for seq, frame in frames.items():
        assert (frame.pixels == 20 * seq).all()
        assert frame.verdict["score"] == pytest.approx(20 * seq / 255, abs=1e-6)
        marked = 20 * seq / 255 > 0.5
        assert (frame.verdict["mask"] is not None) is marked


def test_verdicts_do_not_wait_for_a_disk_that_hangs(bench: Bench, archive: Gate) -> None:
    keep(bench, archive, ALL)
    archive.open.clear()
    with bench.worker():
        for seq in range(30):
            bench.offer(seq, 200)
        assert len(bench.wait_for(30)) == 30
        assert archived(archive) == {}
        archive.open.set()
    assert len(archived(archive)) == 30  # what was in hand is written before the worker ends


def test_part_that_is_late_is_archived_as_the_unknown_that_was_published(
    bench: Bench, archive: Archive
) -> None:
    keep(bench, archive, NEAR_ONLY)
    bench.curve_ms = 20_000.0  # no time is left for it
    with bench.worker():
        bench.offer(0, in_s=5)
        verdicts = bench.wait_for(1)
    assert verdicts[0].reason is Reason.LATE
    assert archived(archive)[0].verdict["reason"] == "LATE"


def test_part_that_another_worker_answered_is_not_archived(bench: Bench, archive: Archive) -> None:
    keep(bench, archive, ALL)
    bench.engine.free.clear()
    with bench.worker():
        bench.offer(0, 200)
        until(lambda: bool(bench.engine.batches))
        (entry,) = FrameConsumer(
            bench.connection.client, bench.line, "worker", LineLimits()
        ).pending()
        other = FrameConsumer(bench.connection.client, bench.line, "other", LineLimits())
        other.answer([Answer(entry, Reason.ENGINE)])
        bench.engine.free.set()
        bench.offer(1, 200)
        bench.wait_for(2)
    assert sorted(archived(archive)) == [1]
