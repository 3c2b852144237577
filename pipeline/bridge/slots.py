"""The ring of eight verdicts that a gate reads, and what became of each.

No I/O and no clock: every method takes Redis's time. The owner holds a lock where threads share it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.bridge.face import Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.report import Code, VerdictReport, is_newer

SLOTS = 8


class Ack(StrEnum):
    """What an acknowledgement of a PLC meant."""

    TAKEN = "taken"
    REPEATED = "repeated"  # of what was acknowledged before: a PLC writes it in every cycle
    BACKWARDS = "backwards"  # older than what was acknowledged before
    NEVER_READ = "never_read"  # of a verdict that this PLC cannot have read
    OTHER_EPOCH = "other_epoch"  # of another numbering of the camera


@dataclass(slots=True)
class _Waiting:
    """A report that is not settled yet."""

    report: VerdictReport
    read: bool = False
    confirmed: bool = False


class Slots:
    """The last verdicts of one camera."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._ring: list[_Waiting | None] = [None] * SLOTS
        self._waiting: dict[str, _Waiting] = {}  # by result id, oldest first
        self._acknowledged: tuple[int, int] | None = None  # epoch, trigger id
        self._newest_read: tuple[int, int] | None = None  # epoch, trigger id
        self.newest: VerdictReport | None = None
        self.counts = {Code.OK: 0, Code.NG: 0, Code.UNKNOWN: 0}  # handed to the ring
        self.shown = 0  # put into the ring: the toggle bit is its lowest bit
        self.overruns = 0  # replaced in the ring before it was read
        self.undelivered = 0  # never read in time, whatever the cause

    def put(self, report: VerdictReport, now_ms: float | None) -> Outcome:
        """Put a report into its slot.

        Returns: PENDING, or STALE for a report without time left, which is never shown.
        """
        if not self._freshness.is_live(report, now_ms):
            self.skip()
            return Outcome.STALE
        waiting = self._waiting.setdefault(report.result_id, _Waiting(report))
        if self.newest is not None and self.newest.epoch != report.epoch:
            self._ring = [None] * SLOTS  # trigger ids of two numberings must not stand together
            self.newest = None
        at = report.trigger_id % SLOTS
        before = self._ring[at]
        if before is not None and is_newer(before.report.trigger_id, report.trigger_id):
            return Outcome.PENDING  # its slot belongs to a newer part: undelivered at its deadline
        if before is not None and before is not waiting:
            live = self._freshness.is_live(before.report, now_ms)
            self.overruns += live and not before.read
        self._ring[at] = waiting
        if self.newest is None or is_newer(report.trigger_id, self.newest.trigger_id):
            self.newest = report
        self.counts[report.code] += 1
        self.shown += 1
        return Outcome.PENDING

    def skip(self) -> None:
        """Count a report that came without time left."""
        self.undelivered += 1

    def read(self, now_ms: float | None) -> list[VerdictReport | None]:
        """Return what each slot shows now; stale reports show UNKNOWN/UNDELIVERED."""
        return [
            None if slot is None else self._freshness.shown(slot.report, now_ms)
            for slot in self._ring
        ]

    def note_read(self, positions: Iterable[int], now_ms: float | None) -> None:
        """Note that these slots were sent to a reader."""
        for at in positions:
            slot = self._ring[at]
            if slot is None or not self._freshness.is_live(slot.report, now_ms):
                continue
            slot.read = True
            newest = self._newest_read
            report = slot.report
            if (
                newest is None
                or newest[0] != report.epoch
                or is_newer(report.trigger_id, newest[1])
            ):
                self._newest_read = report.epoch, report.trigger_id

    def acknowledge(self, epoch: int, trigger_id: int) -> Ack:
        """Confirm every report that was read and is not newer than a trigger id."""
        if self._acknowledged == (epoch, trigger_id):
            self._confirm(epoch, trigger_id)
            return Ack.REPEATED
        if self._newest_read is None:
            return Ack.NEVER_READ
        if epoch != self._newest_read[0]:
            return Ack.OTHER_EPOCH
        if is_newer(trigger_id, self._newest_read[1]):
            return Ack.NEVER_READ
        before = self._acknowledged
        if before is not None and before[0] == epoch and is_newer(before[1], trigger_id):
            return Ack.BACKWARDS
        self._acknowledged = epoch, trigger_id
        self._confirm(epoch, trigger_id)
        return Ack.TAKEN

    def _confirm(self, epoch: int, trigger_id: int) -> None:
        for waiting in self._waiting.values():
            report = waiting.report
            if report.epoch == epoch and not is_newer(report.trigger_id, trigger_id):
                waiting.confirmed = waiting.confirmed or waiting.read

    def settle(self, now_ms: float | None) -> Iterator[tuple[str, Outcome]]:
        """Yield what is confirmed or past its deadline, with its result id, each once."""
        for result_id, waiting in list(self._waiting.items()):
            outcome = self._outcome(waiting, now_ms)
            if outcome is Outcome.PENDING:
                continue
            del self._waiting[result_id]
            self.undelivered += outcome is Outcome.UNDELIVERED
            yield result_id, outcome

    def _outcome(self, waiting: _Waiting, now_ms: float | None) -> Outcome:
        if waiting.confirmed:
            return Outcome.DELIVERED
        if now_ms is None or self._freshness.is_live(waiting.report, now_ms):
            return Outcome.PENDING
        return Outcome.UNCONFIRMED if waiting.read else Outcome.UNDELIVERED

    @property
    def busy(self) -> bool:
        """Return whether a report is neither confirmed nor past its deadline."""
        return any(not waiting.confirmed for waiting in self._waiting.values())

    def oldest(self, now_ms: float | None) -> int | None:
        """Return the position of the oldest live report in the ring."""
        oldest: VerdictReport | None = None
        for slot in self._ring:
            if slot is None or not self._freshness.is_live(slot.report, now_ms):
                continue
            if oldest is None or is_newer(oldest.trigger_id, slot.report.trigger_id):
                oldest = slot.report
        return None if oldest is None else oldest.trigger_id % SLOTS
