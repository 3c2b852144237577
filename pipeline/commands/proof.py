"""The proof that every frame of a line got exactly one verdict: pure, over the line's books.

Two equations hold for a whole line, however many old verdicts are no longer kept:

    offered == published + open            what came in was answered or waits
    verdicts added == published            every verdict came through the register, none was forged

Frame by frame, what is kept proves a span. A frame admitted after the oldest verdict that is kept
was answered after it too, so its verdict must be there; of earlier frames nothing can be said once
verdicts were trimmed. Frames are known by camera and seq, which the line never admits twice.

A part whose picture the camera never delivered was never offered: a gap in its seqs is told and
counted, but breaks no promise of the line, and no verdict may turn up for it (`unoffered`).

A frame that was admitted, and of which the server knew nothing any more when a camera or another
program looked, is a broken promise (`rolled_back`): the server went back to an earlier state. So
are verdicts that were lost with it (`unpublished`), for their parts may get another one.

Stream ids are no clock: when the server's clock is stepped back they stay where they were. So a
verdict's own times decide whether it was late. While ids and clock differ, nothing can be said
frame by frame once verdicts were trimmed.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.errors import UnreadableFrame
from pipeline.frames import Reason
from pipeline.streams.ledger import CameraLedger, LedgerSnapshot
from pipeline.streams.result_reader import Result
from pipeline.streams.rollback.marks import RollbackRecord
from pipeline.wire import Identity, decode_identity

Frame = tuple[str, int]  # camera, seq
Run = tuple[int, int]  # first and last seq
_NS_PER_MS = 1_000_000
_NEVER = 1 << 63  # above every seq and every time
_SCRIPT_MS = 50  # by so much may an id be ahead of the time in its entry


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames are asked for."""

    camera: str | None = None  # None: all
    from_seq: int = 0
    to_seq: int | None = None  # None: to the last

    def holds(self, camera: str, seq: int) -> bool:
        """Return whether the frame is asked for."""
        return (
            self.camera in {None, camera}
            and self.from_seq <= seq
            and (self.to_seq is None or seq <= self.to_seq)
        )

    def cut(self, run: Run) -> Run:
        """Return what of a run of seqs is asked for; first > last where nothing is."""
        last = run[1] if self.to_seq is None else min(run[1], self.to_seq)
        return max(run[0], self.from_seq), last


@dataclass(slots=True)
class CollectedVerdicts:
    """The verdicts kept, gathered one by one."""

    span: Span = field(default_factory=Span)
    verdicts: dict[str, dict[int, int]] = field(default_factory=dict)  # camera -> seq -> how many
    admitted_ms: dict[str, dict[int, int]] = field(default_factory=dict)  # camera -> seq -> when
    answers: Counter[str] = field(default_factory=Counter)  # of the span
    nameless_ms: list[int] = field(default_factory=list)  # admission of those without a frame
    unmarked: list[Frame] = field(default_factory=list)  # after their deadline, but not LATE
    stepped: bool = False  # whether the server's clock was stepped back while any was published

    def add(self, result: Result) -> None:
        """Take one verdict of the stream."""
        self.stepped = self.stepped or _is_stepped(result)
        identity = read_identity(result.header)
        if identity is None:
            self.nameless_ms.append(entry_ms(result.entry_id))
            return
        camera, seq = identity.camera, identity.seq
        seqs = self.verdicts.setdefault(camera, {})
        seqs[seq] = seqs.get(seq, 0) + 1
        self.admitted_ms.setdefault(camera, {})[seq] = entry_ms(result.entry_id)
        if not self.span.holds(camera, seq):
            return
        self.answers[result.answer] += 1
        if _is_late(result, identity) and result.answer != Reason.LATE:
            self.unmarked.append((camera, seq))


def _is_late(result: Result, identity: Identity) -> bool:
    """Return whether a verdict was published after its deadline, both on Redis's clock.

    A worker of an earlier release does not say when it published: the verdict's id must do. A
    camera of an earlier release promised the deadline in its header.
    """
    published_ms = result.published_ms
    if published_ms is None:
        published_ms = entry_ms(result.result_id)
    due_ms = identity.deadline_ns // _NS_PER_MS if result.due_ms is None else result.due_ms
    return published_ms > due_ms


def _is_stepped(result: Result) -> bool:
    """Return whether a stream id is ahead of the clock by more than a script takes."""
    if result.published_ms is None:
        return False
    ahead_ms = max(entry_ms(result.result_id), entry_ms(result.entry_id)) - result.published_ms
    return ahead_ms > _SCRIPT_MS


@dataclass(frozen=True, slots=True)
class OpenFrames:
    """The frames not yet answered."""

    frames: Mapping[Frame, int]  # -> admission, ms
    nameless_ms: list[int]  # admission of those whose head names no frame


@dataclass(frozen=True, slots=True)
class CameraReport:
    """What is known of one camera's frames in the span."""

    camera: str
    offered: int  # frames of the span, those included that can no longer be checked
    proven: Run | None  # first and last seq that were checked frame by frame
    checked: int  # frames offered between them
    answered: int  # of these
    open: int  # of these
    gaps: tuple[Run, ...]  # seqs of the span never offered, as far back as the books know them
    lost: int  # triggers whose picture the camera never delivered, since the line began
    rolled_back: tuple[Run, ...] = ()  # seqs admitted and then lost by the server


@dataclass(frozen=True, slots=True)
class Report:
    """What the books prove."""

    cameras: tuple[CameraReport, ...]
    answers: Mapping[str, int]  # verdicts kept in the span, by answer
    missing: tuple[Frame, ...]  # neither answered nor open
    repeated: tuple[Frame, ...]  # more than one verdict
    unoffered: tuple[Frame, ...]  # a verdict, but never offered
    unmarked: tuple[Frame, ...]  # answered after the deadline, but not LATE
    nameless: int  # verdicts and open frames whose head names no frame
    offered: int  # by all cameras since the line began
    published: int  # verdicts, since the line began
    open: int  # frames
    added: int  # verdicts ever put into the stream
    kept: int  # verdicts still in the stream
    deleted: bool  # verdicts were deleted by hand
    rolled_back: tuple[tuple[str, int, int], ...] = ()  # camera, first and last seq: admitted, lost
    unpublished: tuple[Run, ...] = ()  # first and last number of verdicts: published, lost
    rollbacks: tuple[RollbackRecord, ...] = ()  # who noticed that the server went back, and when
    damaged: tuple[str, ...] = ()  # what of the books cannot be read
    stepped: bool = False  # the clock was stepped back: ids could not be relied on

    def broken(self) -> list[str]:
        """Name every promise that was broken, one sentence each."""
        promises = {
            f"{len(self.missing)} frames have no verdict": len(self.missing) > self.nameless,
            f"{len(self.repeated)} frames have more than one verdict": self.repeated,
            f"{len(self.unoffered)} verdicts are for frames never offered": self.unoffered,
            f"{len(self.unmarked)} verdicts after their deadline do not say LATE": self.unmarked,
            f"{self.offered} frames offered, but {self.published} answered and {self.open} open": (
                self.offered != self.published + self.open
            ),
            f"{self.added} verdicts in the stream, but {self.published} published through the "
            "register": self.added != self.published,
            "verdicts were deleted from the stream": self.deleted,
            f"{self.rolled_frames()} frames were admitted and then lost: Redis went back to an "
            "earlier state (a failover, or a restart from an older file)": self.rolled_back,
            f"{self.lost_verdicts()} verdicts were published and then lost, for the same reason: "
            "their parts may have got another one": self.unpublished,
            f"Redis went back to an earlier state {len(self.rollbacks)} times; no frame or verdict "
            "is known to be lost": (
                self.rollbacks and not self.rolled_back and not self.unpublished
            ),
            f"the books are damaged: {'; '.join(self.damaged)}": self.damaged,
        }
        return [sentence for sentence, is_broken in promises.items() if is_broken]

    def rolled_frames(self) -> int:
        """Return how many frames the server admitted and may have lost."""
        return sum(last - first + 1 for _, first, last in self.rolled_back)

    def lost_verdicts(self) -> int:
        """Return how many verdicts were published and may have been lost."""
        return sum(last - first + 1 for first, last in self.unpublished)


def read_identity(header: bytes) -> Identity | None:
    """Return which frame a header names, or None if it is lost or damaged."""
    try:
        return decode_identity(header)
    except UnreadableFrame:
        return None


def entry_ms(entry_id: str) -> int:
    """Return the time in a stream id, ms since the epoch on Redis's clock, or 0 without one."""
    text = entry_id.partition("-")[0]
    return int(text) if text.isdecimal() else 0


def prove(
    before: LedgerSnapshot,
    collected: CollectedVerdicts,
    open_frames: OpenFrames,
    after: LedgerSnapshot,
) -> Report:
    """Compare what was offered with what was answered.

    Args:
        before: the books before the first verdict was read: their frames must be accounted for.
        collected: all verdicts kept, the last of them read after `open_frames`.
        open_frames: the frames open in between.
        after: the books afterwards: no verdict may be for a frame that they do not know.
    """
    since_ms = _kept_since(after, stepped=collected.stepped)
    rolled_back = _rolled_back(after)
    checked = [
        _check(camera_ledger, since_ms, collected, open_frames, rolled_back)
        for camera_ledger in before.cameras
        if collected.span.camera in {None, camera_ledger.camera}
    ]
    nameless = [ms for ms in (*collected.nameless_ms, *open_frames.nameless_ms) if ms > since_ms]
    return Report(
        cameras=tuple(report for report, _ in checked),
        answers=dict(collected.answers),
        missing=tuple(frame for _, missing in checked for frame in missing),
        repeated=tuple(sorted(_repeated(collected))),
        unoffered=tuple(sorted(_unoffered(collected, after.cameras))),
        unmarked=tuple(collected.unmarked),
        nameless=len(nameless),
        offered=sum(camera_ledger.offered for camera_ledger in after.cameras),
        published=sum(after.counts.values()),
        open=after.open_entries,
        added=after.retention.added,
        kept=after.retention.length,
        deleted=after.retention.deleted,
        rolled_back=tuple((camera, *run) for camera, runs in rolled_back.items() for run in runs),
        unpublished=_joined(
            record.lost.verdicts for record in after.rollbacks if record.lost.verdicts
        ),
        rollbacks=after.rollbacks,
        damaged=after.damaged,
        stepped=collected.stepped,
    )


def _rolled_back(books: LedgerSnapshot) -> dict[str, tuple[Run, ...]]:
    """Return the seqs that may be lost by camera, whoever noticed it; each once."""
    marked = {ledger.camera: list(ledger.rolled_back) for ledger in books.cameras}
    for record in books.rollbacks:
        for camera, after, last in record.lost.frames:
            marked.setdefault(camera, []).append((after + 1, last))
    return {camera: _joined(runs) for camera, runs in sorted(marked.items()) if runs}


def _joined(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Join runs that overlap or touch."""
    joined: list[Run] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _kept_since(snapshot: LedgerSnapshot, *, stepped: bool) -> int:
    """The admission time, ms, after which every frame's verdict must still be kept."""
    kept = snapshot.retention
    complete = kept.length == kept.added >= sum(snapshot.counts.values())
    if complete:
        return -1
    return _NEVER if stepped else kept.first_ms


def _check(
    camera_ledger: CameraLedger,
    since_ms: int,
    collected: CollectedVerdicts,
    open_frames: OpenFrames,
    rolled_back: Mapping[str, tuple[Run, ...]],
) -> tuple[CameraReport, list[Frame]]:
    """Account for one camera's frames, one by one as far as verdicts are kept."""
    camera, span = camera_ledger.camera, collected.span
    answered = collected.verdicts.get(camera, {})
    first = 0 if since_ms < 0 else _first_proven(camera, since_ms, collected, open_frames)
    runs = [cut for run in camera_ledger.runs if (cut := span.cut(run))[0] <= cut[1]]
    seqs = [seq for low, high in runs for seq in range(max(low, first), high + 1)]
    unanswered = [seq for seq in seqs if seq not in answered]
    missing = [(camera, seq) for seq in unanswered if (camera, seq) not in open_frames.frames]
    report = CameraReport(
        camera=camera,
        offered=sum(high - low + 1 for low, high in runs),
        proven=(seqs[0], seqs[-1]) if seqs else None,
        checked=len(seqs),
        answered=len(seqs) - len(unanswered),
        open=len(unanswered) - len(missing),
        gaps=tuple(_gaps(camera_ledger, span, lost := rolled_back.get(camera, ()))),
        lost=camera_ledger.lost,
        rolled_back=lost,
    )
    return report, missing


def _first_proven(
    camera: str, since_ms: int, collected: CollectedVerdicts, open_frames: OpenFrames
) -> int:
    """The first seq known to be admitted after `since_ms`; above all seqs where none is known."""
    found = (seq for seq, ms in collected.admitted_ms.get(camera, {}).items() if ms > since_ms)
    still = (
        seq for (name, seq), ms in open_frames.frames.items() if name == camera and ms > since_ms
    )
    return min(*found, *still, _NEVER, _NEVER)


def _gaps(camera_ledger: CameraLedger, span: Span, lost: tuple[Run, ...]) -> Iterator[Run]:
    """Yield the seqs between two runs, without those that the server lost."""
    for (_, last), (following, _) in pairwise(camera_ledger.runs):
        first = last + 1
        for low, high in lost:
            if first <= low < following:
                yield from _cut(span, (first, low - 1))
            if low < following and high >= first:
                first = high + 1
        yield from _cut(span, (first, following - 1))


def _cut(span: Span, run: Run) -> Iterator[Run]:
    low, high = span.cut(run)
    if low <= high:
        yield low, high


def _repeated(collected: CollectedVerdicts) -> Iterator[Frame]:
    for camera, seqs in collected.verdicts.items():
        for seq, verdicts in seqs.items():
            if verdicts > 1 and collected.span.holds(camera, seq):
                yield camera, seq


def _unoffered(collected: CollectedVerdicts, books: tuple[CameraLedger, ...]) -> Iterator[Frame]:
    offered = {camera_ledger.camera: camera_ledger for camera_ledger in books}
    for camera, seqs in collected.verdicts.items():
        camera_ledger = offered.get(camera)
        for seq in seqs:
            if collected.span.holds(camera, seq) and (
                camera_ledger is None or not _was_offered(camera_ledger, seq)
            ):
                yield camera, seq


def _was_offered(camera_ledger: CameraLedger, seq: int) -> bool:
    at = bisect_right(camera_ledger.runs, seq, key=lambda run: run[0]) - 1
    if at >= 0:
        return seq <= camera_ledger.runs[at][1]
    # before the first run that the books still know
    return camera_ledger.offered > sum(last - first + 1 for first, last in camera_ledger.runs)
