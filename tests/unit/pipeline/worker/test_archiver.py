import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fakes.labels import archived, entry, judgement

from pipeline.archive import Archive, ArchivedFrame
from pipeline.codecs import Codec
from pipeline.errors import SettingsError
from pipeline.frames import Decision, FrameMeta, Reason
from pipeline.streams.frame_consumer import Entry
from pipeline.telemetry import Telemetry
from pipeline.wire import FrameHeader
from pipeline.worker.archiver import QUEUE_BYTES, Archiver, RetentionPolicy, RetentionReason, drawn
from pipeline.worker.batching import WaitingFrame
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.process import WorkerSettings, open_archiver

KEEPING = RetentionPolicy(share=0.0, near=0.05, most_bytes=1 << 30, most_age_s=1e12)
OK, NG = judgement(Decision.OK, 0.2), judgement(Decision.NG)
WAIT_S = 20.0


def held(entry_id: str, side: int = 4) -> InFlightFrame:
    header = FrameHeader(FrameMeta("cam", 1, "part", 1, 2), Codec.RAW, (side, side))
    pixels = np.zeros((side, side, 3), np.uint8)
    return InFlightFrame(Entry(entry_id, b"", None, 0), header, pixels, WaitingFrame(2, 1))


class SlowDisk(Archive):
    """Holds every frame up until it is told to go on; may be full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "line")
        self.free = threading.Event()
        self.writes = threading.Event()
        self.full = False

    def store(self, frame: ArchivedFrame, *, by_chance: bool) -> int:
        self.writes.set()
        assert self.free.wait(WAIT_S)
        if self.full:
            raise OSError(28, "No space left on device")
        return super().store(frame, by_chance=by_chance)


@pytest.fixture
def disk(tmp_path: Path) -> SlowDisk:
    return SlowDisk(tmp_path)


@contextmanager
def writing(disk: SlowDisk, keeping: RetentionPolicy = KEEPING) -> Iterator[Archiver]:
    archiver = Archiver(disk, "line", keeping, Telemetry("line"))
    archiver.start()
    try:
        yield archiver
    finally:
        disk.free.set()
        archiver.close(time.monotonic() + WAIT_S)
    assert not archiver._thread.is_alive()


def dropped(archiver: Archiver) -> float | None:
    return archiver._telemetry.registry.get_sample_value(
        "prn_archive_dropped_total", {"line": "line"}
    )


@pytest.mark.parametrize("answer", [Decision.NG, *Reason])
def test_every_part_that_is_not_ok_is_kept(answer: str) -> None:
    assert KEEPING.reason_to_keep(answer, None, entry()) is RetentionReason.UNSURE
    assert KEEPING.reason_to_keep(answer, OK, entry()) is RetentionReason.UNSURE


@pytest.mark.parametrize(("normalised", "near"), [(0.46, True), (0.44, False), (0.5, True)])
def test_ok_part_is_kept_near_the_threshold_only(normalised: float, near: bool) -> None:  # noqa: FBT001  # as pytest gives it
    said = judgement(Decision.OK, normalised)
    assert (KEEPING.reason_to_keep("OK", said, entry()) is RetentionReason.UNSURE) is near


def test_share_is_drawn_and_the_same_for_every_run() -> None:
    policy = RetentionPolicy(0.02, 0.0, 1, 1.0)
    ids = [entry(number=at) for at in range(20_000)]
    kept = [one for one in ids if policy.reason_to_keep("OK", OK, one) is RetentionReason.BY_CHANCE]
    assert 320 < len(kept) < 480  # 400 expected, four deviations
    assert kept == [one for one in ids if policy.reason_to_keep("OK", OK, one)]
    assert all(0 <= drawn(one) < 1 for one in ids)
    assert not any(RetentionPolicy(0.0, 0.0, 1, 1.0).reason_to_keep("OK", OK, one) for one in ids)
    assert all(RetentionPolicy(1.0, 0.0, 1, 1.0).reason_to_keep("OK", OK, one) for one in ids)


def test_archive_holds_what_was_published_not_what_was_judged(disk: SlowDisk) -> None:
    with writing(disk) as archiver:
        archiver.offer(held(entry(1)), "NG", NG)
        archiver.offer(held(entry(2)), "LATE", OK)  # too late for the OK that was judged
        archiver.offer(held(entry(3)), "ENGINE", None)
        archiver.offer(held(entry(4)), "", NG)  # another worker's answer counts
        archiver.offer(held(entry(5)), "OK", OK)
    said = [disk.verdict(one) for one in disk.entries()]
    assert [(one["decision"], one["reason"]) for one in said if one] == [
        ("NG", None),
        ("UNKNOWN", "LATE"),
        ("UNKNOWN", "ENGINE"),
    ]


def test_slow_disk_makes_nobody_wait_and_what_does_not_fit_is_counted(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    side = 2048  # 12 MB
    fit = QUEUE_BYTES // (side * side * 3)
    with writing(disk) as archiver:
        for number in range(fit + 3):
            archiver.offer(held(entry(number=number), side), "NG", NG)
        assert dropped(archiver) == 3
    assert len(list(disk.entries())) == fit
    assert [record.msg for record in caplog.records] == ["archive.dropped"]  # said once, not thrice


def test_place_of_a_written_frame_is_free_again(disk: SlowDisk) -> None:
    disk.free.set()
    with writing(disk) as archiver:
        for number in range(3):
            archiver.offer(held(entry(number=number), 3000), "NG", NG)  # 27 MB
            deadline = time.monotonic() + WAIT_S
            while len(list(disk.entries())) <= number and time.monotonic() < deadline:
                time.sleep(0.01)
        assert dropped(archiver) == 0


def test_frame_larger_than_the_queue_is_taken_when_it_is_empty(disk: SlowDisk) -> None:
    with writing(disk) as archiver:
        archiver.offer(held(entry(), 4800), "NG", NG)  # 69 MB
        archiver.offer(held(entry(1)), "NG", NG)
    assert list(disk.entries()) == [entry()]


def test_full_disk_is_said_and_survived(disk: SlowDisk, caplog: pytest.LogCaptureFixture) -> None:
    disk.full = True
    disk.free.set()
    with writing(disk) as archiver:
        archiver.offer(held(entry(1)), "NG", NG)
        deadline = time.monotonic() + WAIT_S
        while dropped(archiver) != 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        disk.full = False
        archiver.offer(held(entry(2)), "NG", NG)
    assert list(disk.entries()) == [entry(2)]
    assert "No space left" in caplog.text or any(
        "No space left" in str(record.__dict__) for record in caplog.records
    )


def test_frames_that_a_stopping_worker_cannot_write_are_counted(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(disk) as archiver:
        archiver.offer(held(entry()), "NG", NG)
        assert disk.writes.wait(WAIT_S)
        for number in range(1, 4):
            archiver.offer(held(entry(number)), "NG", NG)
        archiver.close(time.monotonic())
        assert dropped(archiver) == 3
    assert list(disk.entries()) == [entry()]
    (said,) = (record for record in caplog.records if record.msg == "archive.left_frames")
    assert said.__dict__["frames"] == 3


def test_budget_is_kept_while_frames_come(disk: SlowDisk) -> None:
    disk.free.set()
    size = disk.store(archived(entry()), by_chance=True)
    with writing(disk, RetentionPolicy(0.0, 0.0, 10 * size, 1e12)) as archiver:
        for number in range(1, 60):
            archiver.offer(held(entry(number)), "NG", NG)
    files = sum(path.stat().st_size for path in disk.folder.rglob("*.*"))
    assert size < files <= 10 * size
    assert entry(59) in set(disk.entries())
    assert entry() not in set(disk.entries())


def test_old_frames_go_at_the_start(disk: SlowDisk) -> None:
    disk.free.set()
    disk.store(archived(entry()), by_chance=False)
    with writing(disk, RetentionPolicy(0.0, 0.0, 1 << 30, 60.0)):
        pass
    assert list(disk.entries()) == []


def test_worker_without_an_archive_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert open_archiver(WorkerSettings(engine=Path("a.onnx")), Telemetry("line")) is None
    assert [record.msg for record in caplog.records] == ["archive.none"]


def test_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = WorkerSettings(engine=Path("a.onnx"), archive=tmp_path / "file")
    with pytest.raises(SettingsError, match="choose a folder"):
        open_archiver(settings, Telemetry("line"))
