from pathlib import Path

import numpy as np

from pipeline.archive import Archive, ArchivedFrame
from pipeline.archive.files import age_key
from pipeline.frames import Decision, EngineName, FrameMeta, Judgement, Timings, Verdict
from pipeline.labels import Label
from pipeline.streams.labels import LabelStream
from pipeline.verdicts import verdict_fields
from pipeline.wire.label import decode_label, encode_label

FIRST_MS = 1_764_140_400_000  # 2025-11-26, 07:00 UTC
SIZE = (6, 9)


def entry(minutes: float = 0.0, number: int = 0) -> str:
    return f"{FIRST_MS + int(minutes * 60_000)}-{number}"


def judgement(judged: Decision, normalised: float = 0.7, *, masked: bool = False) -> Judgement:
    mask = np.zeros(SIZE, np.bool_)
    mask[2:4, 3:8] = True
    engine = EngineName("probe", "1", "0" * 64)
    timings = Timings(1.0, 2.0, 3.0, 1)
    shown = mask if masked else None
    return Judgement(judged, 0.4, normalised, 0.5, 0.5, (), shown, engine, timings, "worker")


def archived(
    entry_id: str, *, camera: str = "cam", seq: int = 1, part: str = "part-1", masked: bool = True
) -> ArchivedFrame:
    said = judgement(Decision.NG, masked=masked)
    meta = FrameMeta(camera, seq, part, 1, 2)
    verdict = Verdict("line", meta, Decision.NG, None, said, entry_id)
    pixels = np.random.default_rng(seq).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return ArchivedFrame(entry_id, pixels, verdict_fields(verdict, with_mask=True))


def store(
    archive: Archive,
    entry_id: str,
    *,
    by_chance: bool = False,
    camera: str = "cam",
    seq: int = 1,
    part: str = "part-1",
) -> int:
    frame = archived(entry_id, camera=camera, seq=seq, part=part)
    return archive.store(frame, by_chance=by_chance)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class FakeStream(LabelStream):
    """Takes each label once, unless it was told to fail."""

    def __init__(self) -> None:
        self.sent: list[Label] = []
        self._packed: list[bytes] = []
        self.failures: list[Exception] = []

    def send(self, packed: bytes) -> str:
        if self.failures:
            raise self.failures.pop(0)
        if packed not in self._packed:
            self._packed.append(packed)
            self.sent.append(decode_label(packed))
        return f"{self._packed.index(packed) + 1}-0"

    def since(self, after: str, count: int) -> list[tuple[str, bytes]]:
        ids = [f"{number}-0" for number in range(1, len(self.sent) + 1)]
        later = [at for at, one in enumerate(ids) if age_key(one) > age_key(after)]
        return [(ids[at], encode_label(self.sent[at])) for at in later[:count]]
