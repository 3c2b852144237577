"""How the distances of a line went over time: verdicts in, a summary for each camera out. Pure.

The rows are what `pipeline.verdicts.verdict_fields` gives, from the archive or from
`pipeline-consume`, oldest first. An archive that keeps a share of the good frames shows the same
drift later: its frames are counted, not the line's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.drift.detector import Alarm, DriftDetector, DriftState, read_signals

PERIOD_S = 3600.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time under one engine."""

    start_ns: int  # UTC
    good: int
    ng: int
    distance: tuple[float, ...]  # geometric mean of good frames per scale; empty where none was


@dataclass(frozen=True, slots=True)
class DatedAlarm:
    """An alarm, and when it was raised."""

    at_ns: int  # UTC, capture of the frame that raised it
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class CameraHistory:
    """What one camera's frames said under one engine."""

    camera: str
    engine_sha256: str
    periods: tuple[Period, ...]  # oldest first; a period without frames is left out
    alarms: tuple[DatedAlarm, ...]
    state: DriftState  # at the end


@dataclass(slots=True)
class _CameraRecord:
    # by how many distances and cells a row has (those of earlier releases have no cells); the one
    # that saw the latest row is the last
    detectors: dict[tuple[int, int], DriftDetector] = field(default_factory=dict)
    good: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)  # by start_ns
    ng: dict[int, int] = field(default_factory=dict)
    alarms: list[DatedAlarm] = field(default_factory=list)


def drift_history(
    rows: Iterable[Mapping[str, Any]], period_s: float = PERIOD_S
) -> list[CameraHistory]:
    """Sum up the distances of judged frames, and find again where they began to change.

    Args:
        rows: fields of verdicts, by time of capture; those that no engine judged are passed over.
        period_s: length of a period, s.

    Returns: one for each camera and engine, in the order in which they first appear.
    """
    period_ns = max(1, int(period_s * _NS_PER_S))
    records: dict[tuple[str, str], _CameraRecord] = {}
    for row in rows:
        distance, cells = tuple(row.get("distance") or ()), tuple(row.get("cells") or ())
        if not (distance or cells) or not row.get("engine"):
            continue
        key = (str(row["camera"]), str(row["engine"]["sha256"]))
        _add(records.setdefault(key, _CameraRecord()), row, distance, cells, period_ns)
    return [_concluded(*key, record) for key, record in records.items()]


def _add(
    record: _CameraRecord,
    row: Mapping[str, Any],
    distance: tuple[float, ...],
    cells: tuple[float, ...],
    period_ns: int,
) -> None:
    at_ns = int(row["captured_ns"])
    start_ns = at_ns - at_ns % period_ns
    good = record.good.setdefault(start_ns, [])
    ng = row["score"] > row["threshold"]  # a verdict LATE was judged all the same
    if ng:
        record.ng[start_ns] = record.ng.get(start_ns, 0) + 1
    else:
        good.append(distance)
    form = (len(distance), len(cells))
    detector = record.detectors.pop(form, None) or DriftDetector(*form)
    record.detectors[form] = detector
    if (alarm := detector.observe(read_signals(distance, cells), ng=ng)) is not None:
        record.alarms.append(DatedAlarm(at_ns, alarm))


def _concluded(camera: str, engine: str, record: _CameraRecord) -> CameraHistory:
    periods = [
        Period(start_ns, len(good), record.ng.get(start_ns, 0), _typical(good))
        for start_ns, good in sorted(record.good.items())
    ]
    state = next(reversed(record.detectors.values())).status().state
    return CameraHistory(camera, engine, tuple(periods), tuple(record.alarms), state)


def _typical(distances: list[tuple[float, ...]]) -> tuple[float, ...]:
    told = [distance for distance in distances if distance]
    if not told:
        return ()
    logs = read_signals(np.asarray(told).ravel().tolist(), ()).reshape(len(told), -1)
    return tuple(np.exp(logs.mean(axis=0)).tolist())
