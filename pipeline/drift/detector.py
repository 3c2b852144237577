"""Drift: when what an engine says of good parts begins to change, and whether all of it changes.

Signals of a frame: the logarithm of the distance to the nearest prototype of each scale, and of the
mean of the map in each cell of a coarse grid. The first good frames say what is usual. From then on
each signal has its normal score z, the quantile of the normal distribution at its rank among them:
that is normal whatever the signal's own distribution (Hackl and Ledolter, Journal of Quality
Technology 23, 1991). Two sums of each signal look for a lasting shift (Page, Biometrika 41, 1954):

    rise = max(0, rise + z - SLACK)    fall = max(0, fall - z - SLACK)    alarm where one > limit

A sum of independent normal z passes the limit once in (exp(2 k b) - 2 k b - 1) / (2 k^2) frames,
k = SLACK, b = limit + 1.166 (Siegmund, Sequential Analysis, 1985). `alarm_limit` solves it so that
all sums of a camera together do so once in FRAMES_A_FALSE_ALARM. An alarm waits until it can be
said what moved, which makes false ones rarer; that what is usual is learned from few frames, and
that parts resemble their neighbours in time, makes them more frequent.

An NG frame is neither learned nor summed: a defect is no drift. But where most frames are NG, that
is a change by itself, and their signals say of what.

Pure: a frame's signals in, an alarm or nothing out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEARN_FRAMES = 300  # good frames that say what is usual
SLACK = 0.75  # of a normal score: a lasting shift below it is no drift
CLIP = 4.0  # deviations, in means: one strange part is not twenty
FRAMES_A_FALSE_ALARM = 1_000_000
DECIDE_FRAMES = 16  # after the change, before it is said what moved
WINDOW = 64  # latest frames that say what moved
MOST_CELLS = 0.5  # of the grid, moved: the whole picture did
MOVED = 0.5  # deviations, at least; more while few frames say so
MOVED_TOO = 0.2  # of what moved most: what moves less is its shadow
LEVEL_WEIGHT = 0.05  # of the newest frame in the running levels
MOST_NG = 0.5  # running share of NG frames: 14 in a row, or more than half for long
LEAST_DEVIATION = 0.01  # of a logarithm: what moves by less than 1 % does not move
LEAST_MEAN = 1e-4  # of the map in a cell: below it nothing can be read
_LEAST_DISTANCE = 1e-9
_SURE = 3.0  # standard errors of a mean that a move must have
_TWO = 2  # scales; one distance alone is that of one place, and says nothing of the picture
_OVERSHOOT = 1.166  # Siegmund's correction for frames instead of a continuous time

Signals = NDArray[np.float64]


class DriftState(StrEnum):
    """What is known of a camera's drift."""

    LEARNING = "learning"  # what is usual
    STEADY = "steady"
    CAMERA = "camera"  # the whole picture moved: camera, lens or light
    PROCESS = "process"  # some places or scales moved: the parts


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """Where a camera stands."""

    state: DriftState
    learned: float = 1.0  # share of what must be learned
    ng_share: float = 0.0  # running
    distance: tuple[float, ...] = ()  # running geometric mean of good frames, per scale
    shift: tuple[float, ...] = ()  # of it against what is usual, in deviations, per scale
    cells: tuple[float, ...] = ()  # the same of the map, row by row


@dataclass(frozen=True, slots=True)
class Alarm:
    """What began to move, and how long ago."""

    kind: DriftState  # CAMERA or PROCESS
    frames: int  # since the change, about
    shift: tuple[float, ...]  # of each scale since then, in deviations
    cells: tuple[float, ...]  # of each cell of the grid, row by row
    cells_moved: int
    ng_share: float  # running


def read_signals(distance: Sequence[float], cells: Sequence[float]) -> Signals:
    """Return the signals of a frame, scales first.

    Args:
        distance: to the nearest prototype, per scale; none where the network has no prototypes.
        cells: mean of the map in each cell of a grid, 0..1.
    """
    values = np.array((*distance, *cells), np.float64)
    values[len(distance) :] += LEAST_MEAN
    signals: Signals = np.log(np.maximum(values, _LEAST_DISTANCE))
    return signals


def alarm_limit(signals: int, frames_a_false_alarm: float = FRAMES_A_FALSE_ALARM) -> float:
    """Return the limit of each sum, so that 2 * `signals` of them keep the rate of false alarms."""
    wanted = 2 * signals * frames_a_false_alarm * 2 * SLACK**2
    exponent = math.log(wanted)
    for _ in range(20):  # exp(e) - e - 1 = wanted
        exponent = math.log(wanted + exponent + 1)
    return exponent / (2 * SLACK) - _OVERSHOOT


class DriftDetector:
    """Follows one camera under one engine; its memory is fixed."""

    def __init__(
        self,
        scales: int,
        cells: int,
        frames_a_false_alarm: float = FRAMES_A_FALSE_ALARM,
    ) -> None:
        """Begin to learn.

        Args:
            scales: distances of a frame.
            cells: of the map. One signal at least.
            frames_a_false_alarm: as for `alarm_limit`.
        """
        self._scales = scales
        self._limit = alarm_limit(scales + cells, frames_a_false_alarm)
        self._baseline = _Baseline(scales + cells)
        self._sums = _CumulativeSums(scales + cells, 2 * self._limit)
        self._window = np.zeros((WINDOW, scales + cells))  # the latest frames, in deviations
        self._frames = 0
        self._level = np.zeros(scales + cells)  # running mean of good frames, in deviations
        self._ng_share = 0.0
        self.kind: DriftState | None = None  # of the alarm in force

    def observe(self, signals: Signals, *, ng: bool) -> Alarm | None:
        """Take in a frame's signals; an alarm when one begins, or turns out to be wider."""
        self._ng_share += LEVEL_WEIGHT * (ng - self._ng_share)
        if not self._baseline.known:
            if not ng:
                self._baseline.learn(signals)
            return None
        deviations = self._baseline.deviations(signals)
        self._window[self._frames % WINDOW] = deviations
        self._frames += 1
        if not ng:
            self._level += LEVEL_WEIGHT * (deviations - self._level)
            self._sums.add(self._baseline.scores(signals))
        return self._look() if self.kind is None else self._follow()

    def status(self) -> DriftStatus:
        """Where the camera stands now."""
        if not self._baseline.known:
            return DriftStatus(DriftState.LEARNING, self._baseline.learned, self._ng_share)
        return DriftStatus(
            self.kind or DriftState.STEADY,
            1.0,
            self._ng_share,
            tuple(self._baseline.restored(self._level)[: self._scales].tolist()),
            tuple(self._level[: self._scales].tolist()),
            tuple(self._level[self._scales :].tolist()),
        )

    def _look(self) -> Alarm | None:
        """Look for a change that is old enough to say what moved."""
        most_ng = self._ng_share > MOST_NG
        frames = DECIDE_FRAMES if most_ng else self._sums.frames_since(self._limit)
        if frames < DECIDE_FRAMES:
            return None
        alarm = self._alarm(frames)
        self.kind = alarm.kind
        return alarm

    def _follow(self) -> Alarm | None:
        """End an alarm when all is as usual; say when one of the process turns out to be wider."""
        if np.abs(self._level).max() < SLACK / 2 and self._ng_share < MOST_NG / 2:
            self.kind = None
            self._sums.clear()
        elif self.kind is DriftState.PROCESS and self._frames % DECIDE_FRAMES == 0:
            alarm = self._alarm(WINDOW)
            if alarm.kind is DriftState.CAMERA:
                self.kind = DriftState.CAMERA
                return alarm
        return None

    def _alarm(self, frames: int) -> Alarm:
        """Return what moved on average over the latest frames."""
        count = min(frames, WINDOW, self._frames)
        latest = np.arange(self._frames - count, self._frames) % WINDOW
        shift = self._window[latest].mean(axis=0)
        scales, cells = shift[: self._scales], shift[self._scales :]
        least = max(MOVED, _SURE / math.sqrt(count))
        moved = np.abs(cells) > max(least, MOVED_TOO * np.abs(cells).max(initial=0))
        return Alarm(
            _kind_of(scales, cells, moved, least),
            frames,
            tuple(scales.tolist()),
            tuple(cells.tolist()),
            int(moved.sum()),
            self._ng_share,
        )


def _kind_of(scales: Signals, cells: Signals, moved: NDArray[np.bool_], least: float) -> DriftState:
    """Separate what moved the whole picture from what moved the parts.

    Light and focus move most cells. A camera that was pushed moves all distances to whole-picture
    prototypes, and no place stands out; a change of the parts stands out where it is.
    """
    if moved.size and moved.mean() >= MOST_CELLS:
        return DriftState.CAMERA
    if scales.size < _TWO:
        return DriftState.PROCESS
    least_scale = np.abs(scales).min()
    furthest_cell = np.abs(cells).max(initial=0)
    return DriftState.CAMERA if least_scale > max(least, furthest_cell) else DriftState.PROCESS


class _CumulativeSums:
    """The two cumulative sums of every signal."""

    def __init__(self, signals: int, most: float) -> None:
        self._most = most  # so that an alarm can end
        self._sums = np.zeros((2, signals))  # rise, fall
        self._since = np.zeros((2, signals), np.int64)  # frames since each left zero

    def add(self, scores: Signals) -> None:
        """Take in a frame's normal scores."""
        sums = self._sums
        sums[0] += scores
        sums[1] -= scores
        sums -= SLACK
        np.clip(sums, 0, self._most, out=sums)
        self._since += 1
        self._since[sums == 0] = 0

    def frames_since(self, limit: float) -> int:
        """Return how long ago what is past the limit began to change; 0 if nothing is."""
        past = self._sums > limit
        return int(self._since[past].max()) if past.any() else 0

    def clear(self) -> None:
        """Begin anew."""
        self._sums[:] = 0
        self._since[:] = 0


class _Baseline:
    """What is usual of each signal: learned once, then fixed."""

    def __init__(self, signals: int) -> None:
        self._seen = np.empty((LEARN_FRAMES, signals))  # sorted, once it is full
        self._count = 0
        self._mean = np.zeros(signals)
        self._deviation = np.ones(signals)
        ranks = np.arange(2 * LEARN_FRAMES + 1) / 2  # halves: what equals some of them
        quantiles = (ranks + 0.5) / (LEARN_FRAMES + 1)
        self._scores = np.array([NormalDist().inv_cdf(each) for each in quantiles])

    @property
    def known(self) -> bool:
        """Return whether it is learned."""
        return self._count == LEARN_FRAMES

    @property
    def learned(self) -> float:
        """Share of the frames that it takes."""
        return self._count / LEARN_FRAMES

    def learn(self, signals: Signals) -> None:
        """Take one more frame in."""
        self._seen[self._count] = signals
        self._count += 1
        if self.known:
            self._seen.sort(axis=0)
            self._mean = self._seen.mean(axis=0)
            self._deviation = np.maximum(self._seen.std(axis=0), LEAST_DEVIATION)

    def deviations(self, signals: Signals) -> Signals:
        """Return how many deviations each signal is from its mean, clipped at +-CLIP."""
        return np.clip((signals - self._mean) / self._deviation, -CLIP, CLIP)

    def scores(self, signals: Signals) -> Signals:
        """Return each signal's normal score."""
        room = LEAST_DEVIATION / 2  # what is nearer than that is the same
        below = np.count_nonzero(self._seen < signals - room, axis=0)
        scores: Signals = self._scores[
            below + np.count_nonzero(self._seen <= signals + room, axis=0)
        ]
        return scores

    def restored(self, deviations: Signals) -> Signals:
        """Return the values that are so many deviations from the mean."""
        return np.exp(self._mean + deviations * self._deviation)
