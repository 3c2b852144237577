"""What the workers of a line know of each promotion: tried by whom, held, refused.

A worker notes that it tries a promotion before it loads it, and how that ended. A note without an
end, of a worker that lives no more, is a death in the attempt: the first may have been a power cut.
"""

import logging
import time
from dataclasses import replace

from pipeline.errors import UnreadableFrame
from pipeline.wire import Standing, Trial, decode_trial, encode_trial
from pipeline.worker.swap.engine_source import Promotion
from pipeline.worker.swap.interfaces import Agreement

DEATHS = 2  # in the attempt, after which a promotion is refused
KEPT = 64  # promotions
_log = logging.getLogger(__name__)


class Trials:
    """Reads and writes what is known, in one worker's name; what Redis missed is told later."""

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._untold: dict[Promotion, Trial | None] = {}  # None: this worker tries it no more

    def of(self, promotion: Promotion) -> Trial | None:
        """What is known of a promotion; None where that is nothing.

        A promotion that nobody has judged yet stands as its version did: it held before. One whose
        time nobody can tell, as the registry is away, is the latest of its version.
        """
        self.tell()
        exact = _read(self._agreement.noted(_field(promotion)))
        if exact is not None and exact.standing is not Standing.TRYING:
            return exact
        noted = [trial for trial in self._all() if trial.version == promotion.version]
        if promotion.at:
            noted = [trial for trial in noted if trial.standing is not Standing.TRYING]
        latest = max(noted, key=lambda trial: trial.noted_ms, default=None)
        if latest is not None and (latest.standing is Standing.HELD or not promotion.at):
            return latest
        return exact

    def refused(self, promotion: Promotion) -> bool:
        """Whether it was refused on live frames."""
        trial = self.of(promotion)
        return trial is not None and trial.standing is Standing.REFUSED

    def held(self, promotion: Promotion) -> bool:
        """Whether it held on live frames."""
        trial = self.of(promotion)
        return trial is not None and trial.standing is Standing.HELD

    def busy(self, trial: Trial) -> bool:
        """Whether another worker, one that lives, is trying it."""
        trying = trial.standing is Standing.TRYING
        another = trial.worker != self._agreement.worker
        return trying and another and self._agreement.lives(trial.worker)

    def killed(self, trial: Trial) -> bool:
        """Whether so many workers died trying it that none should try again."""
        trying = trial.standing is Standing.TRYING
        return trying and trial.worker != self._agreement.worker and trial.tries >= DEATHS

    def begin(self, promotion: Promotion) -> None:
        """Note that this worker tries it, and nothing else."""
        self.end_all()
        known = self.of(promotion)
        if known is not None and known.standing is not Standing.TRYING:
            return
        trial = self._trial(promotion, Standing.TRYING)
        if known is not None:
            trial = replace(trial, tries=known.tries + 1)
        self._put(promotion, trial)

    def end(self, promotion: Promotion) -> None:
        """This worker tries it no more, and found nothing that is true of all workers."""
        self._untold[promotion] = None
        self.tell()

    def hold(self, promotion: Promotion) -> None:
        """It held on live frames."""
        self._untold[promotion] = self._trial(promotion, Standing.HELD)
        self.tell()

    def refuse(self, promotion: Promotion, why: str) -> None:
        """It failed on live frames: keep it from every worker of the line."""
        trial = self._trial(promotion, Standing.REFUSED)
        self._untold[promotion] = replace(trial, why=why)
        self.tell()

    def end_all(self) -> None:
        """This worker tries nothing any more."""
        self.tell()
        for trial in self._all():
            mine = trial.worker == self._agreement.worker
            if mine and trial.standing is Standing.TRYING:
                self._put(Promotion(trial.version, trial.promoted_at), None)

    def tell(self) -> None:
        """Say what Redis has not heard yet.

        Raises:
            ConnectionLost, RedisFull: it still does not hear; it is said again with the next call.
        """
        for promotion, trial in list(self._untold.items()):
            self._put(promotion, trial)
            del self._untold[promotion]

    def _trial(self, promotion: Promotion, standing: Standing) -> Trial:
        now_ms = time.time_ns() // 1_000_000
        worker = self._agreement.worker
        return Trial(promotion.version, promotion.at, standing, worker, noted_ms=now_ms)

    def _put(self, promotion: Promotion, trial: Trial | None) -> None:
        field = _field(promotion)
        while True:
            was = self._agreement.noted(field)
            if not self._may_change(_read(was), trial):
                return
            if self._agreement.note(field, was, encode_trial(trial) if trial else b""):
                break
        self._trim()

    def _may_change(self, known: Trial | None, trial: Trial | None) -> bool:
        """A refusal stays; what held is only refused; nobody ends what another tries."""
        if trial is None:
            mine = known is not None and known.worker == self._agreement.worker
            return mine and known is not None and known.standing is Standing.TRYING
        if known is None or trial.standing is Standing.REFUSED:
            return True
        if known.standing is Standing.TRYING:
            return True
        return known.standing is Standing.HELD and trial.standing is Standing.HELD

    def _trim(self) -> None:
        notes = self._agreement.notes()
        if len(notes) <= KEPT:
            return

        def noted_ms(field: str) -> int:
            trial = _read(notes[field])
            return 0 if trial is None else trial.noted_ms

        for field in sorted(notes, key=noted_ms)[:-KEPT]:
            self._agreement.note(field, notes[field], b"")

    def _all(self) -> list[Trial]:
        trials = (_read(packed) for packed in self._agreement.notes().values())
        return [trial for trial in trials if trial is not None]


def _field(promotion: Promotion) -> str:
    return f"{promotion.version} {promotion.at}"


def _read(packed: bytes) -> Trial | None:
    if not packed:
        return None
    try:
        return decode_trial(packed)
    except UnreadableFrame as error:
        _log.warning("swap.unreadable_trial", extra={"why": str(error)})
        return None
