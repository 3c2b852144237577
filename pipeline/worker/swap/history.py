"""What the workers of a line know of each promotion: tried by whom, held, refused.

A worker notes that it tries a promotion before it loads it, and how that ended. A note without an
end, of a worker that lives no more, is a death in the attempt: the first may have been a power cut.
"""

import logging
import time
from dataclasses import replace

from pipeline.errors import UnreadableFrame
from pipeline.wire import RolloutRecord, RolloutState, decode_rollout_record, encode_rollout_record
from pipeline.worker.swap.engine_source import PromotionRef
from pipeline.worker.swap.interfaces import SwapCoordinator

DEATHS = 2  # in the attempt, after which a promotion is refused
PROMOTIONS_KEPT = 64  # promotions
_log = logging.getLogger(__name__)


class RolloutHistory:
    """Reads and writes what is known, in one worker's name; what Redis missed is told later."""

    def __init__(self, coordinator: SwapCoordinator) -> None:
        self._coordinator = coordinator
        # None: this worker tries it no more
        self._unsent: dict[PromotionRef, RolloutRecord | None] = {}

    def find(self, promotion: PromotionRef) -> RolloutRecord | None:
        """What is known of a promotion; None where that is nothing.

        A promotion that nobody has judged yet stands as its version did: it held before. One whose
        time nobody can tell, as the registry is away, is the latest of its version.
        """
        self.flush()
        exact = _read(self._coordinator.read_record(_field(promotion)))
        if exact is not None and exact.state is not RolloutState.TRYING:
            return exact
        noted = [record for record in self._all_records() if record.version == promotion.version]
        if promotion.at:
            noted = [record for record in noted if record.state is not RolloutState.TRYING]
        latest = max(noted, key=lambda record: record.noted_ms, default=None)
        if latest is not None and (latest.state is RolloutState.HELD or not promotion.at):
            return latest
        return exact

    def is_refused(self, promotion: PromotionRef) -> bool:
        """Return whether it was refused on live frames."""
        record = self.find(promotion)
        return record is not None and record.state is RolloutState.REFUSED

    def has_held(self, promotion: PromotionRef) -> bool:
        """Return whether it held on live frames."""
        record = self.find(promotion)
        return record is not None and record.state is RolloutState.HELD

    def is_busy(self, record: RolloutRecord) -> bool:
        """Return whether another worker, one that lives, is trying it."""
        trying = record.state is RolloutState.TRYING
        another = record.worker != self._coordinator.worker
        return trying and another and self._coordinator.is_alive(record.worker)

    def killed_workers(self, record: RolloutRecord) -> bool:
        """Return whether so many workers died trying it that none should try again."""
        trying = record.state is RolloutState.TRYING
        return trying and record.worker != self._coordinator.worker and record.tries >= DEATHS

    def begin(self, promotion: PromotionRef) -> None:
        """Note that this worker tries it, and nothing else."""
        self.end_all()
        known = self.find(promotion)
        if known is not None and known.state is not RolloutState.TRYING:
            return
        record = self._new_record(promotion, RolloutState.TRYING)
        if known is not None:
            record = replace(record, tries=known.tries + 1)
        self._put(promotion, record)

    def end(self, promotion: PromotionRef) -> None:
        """This worker tries it no more, and found nothing that is true of all workers."""
        self._unsent[promotion] = None
        self.flush()

    def mark_held(self, promotion: PromotionRef) -> None:
        """It held on live frames."""
        self._unsent[promotion] = self._new_record(promotion, RolloutState.HELD)
        self.flush()

    def mark_refused(self, promotion: PromotionRef, why: str) -> None:
        """It failed on live frames: keep it from every worker of the line."""
        record = self._new_record(promotion, RolloutState.REFUSED)
        self._unsent[promotion] = replace(record, why=why)
        self.flush()

    def end_all(self) -> None:
        """This worker tries nothing any more."""
        self.flush()
        for record in self._all_records():
            mine = record.worker == self._coordinator.worker
            if mine and record.state is RolloutState.TRYING:
                self._put(PromotionRef(record.version, record.promoted_at), None)

    def flush(self) -> None:
        """Send what Redis has not received yet.

        Raises:
            ConnectionLost, RedisFull: it still does not hear; it is said again with the next call.
        """
        for promotion, record in list(self._unsent.items()):
            self._put(promotion, record)
            del self._unsent[promotion]

    def _new_record(self, promotion: PromotionRef, state: RolloutState) -> RolloutRecord:
        now_ms = time.time_ns() // 1_000_000
        worker = self._coordinator.worker
        return RolloutRecord(promotion.version, promotion.at, state, worker, noted_ms=now_ms)

    def _put(self, promotion: PromotionRef, record: RolloutRecord | None) -> None:
        field = _field(promotion)
        while True:
            was = self._coordinator.read_record(field)
            if not self._may_change(_read(was), record):
                return
            if self._coordinator.compare_and_set(
                field, was, encode_rollout_record(record) if record else b""
            ):
                break
        self._trim()

    def _may_change(self, known: RolloutRecord | None, record: RolloutRecord | None) -> bool:
        """A refusal stays; what held is only refused; nobody ends what another tries."""
        if record is None:
            mine = known is not None and known.worker == self._coordinator.worker
            return mine and known is not None and known.state is RolloutState.TRYING
        if known is None or record.state is RolloutState.REFUSED:
            return True
        if known.state is RolloutState.TRYING:
            return True
        return known.state is RolloutState.HELD and record.state is RolloutState.HELD

    def _trim(self) -> None:
        notes = self._coordinator.read_records()
        if len(notes) <= PROMOTIONS_KEPT:
            return

        def noted_ms(field: str) -> int:
            record = _read(notes[field])
            return 0 if record is None else record.noted_ms

        for field in sorted(notes, key=noted_ms)[:-PROMOTIONS_KEPT]:
            self._coordinator.compare_and_set(field, notes[field], b"")

    def _all_records(self) -> list[RolloutRecord]:
        records = (_read(packed) for packed in self._coordinator.read_records().values())
        return [record for record in records if record is not None]


def _field(promotion: PromotionRef) -> str:
    return f"{promotion.version} {promotion.at}"


def _read(packed: bytes) -> RolloutRecord | None:
    if not packed:
        return None
    try:
        return decode_rollout_record(packed)
    except UnreadableFrame as error:
        _log.warning("swap.unreadable_trial", extra={"why": str(error)})
        return None
