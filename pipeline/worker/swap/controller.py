"""The swap controller: looks at the registry, and brings in what it promotes.

It makes no verdict wait: the candidate scores in spare time, and what changes at the swap is one
attribute, which every lane reads once a batch.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from engines.errors import EngineError
from pipeline.errors import CannotServe, ConnectionLost, DoesNotHold, RedisFull
from pipeline.wire import RolloutRecord, RolloutState
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.swap.engine_source import EngineSource, PromotionRef
from pipeline.worker.swap.history import RolloutHistory
from pipeline.worker.swap.interfaces import RolloutSettings, SwapCoordinator, WorkerHandle
from pipeline.worker.swap.loading import EngineOptions, prepare_engine
from pipeline.worker.swap.rollout import Rollout, RolloutResult

LEASE_MS = 10_000
RENEW_EVERY_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 30.0, 3600.0  # after what went wrong on this machine alone
_log = logging.getLogger(__name__)


class SwapController:
    """Keeps in force what the registry promotes, while it holds on live frames."""

    def __init__(
        self,
        active: ActiveEngine,
        source: EngineSource,
        coordinator: SwapCoordinator,
        options: EngineOptions,
        worker: WorkerHandle,
        settings: RolloutSettings,
    ) -> None:
        self._active = active
        self._source = source
        self._coordinator = coordinator
        self._history = RolloutHistory(coordinator)
        self._options = options
        self._worker = worker
        self._settings = settings
        self._look_now = threading.Event()
        self._wanted: PromotionRef | None = None
        self._looking = threading.Lock()
        self._looked_s = self._asked_s = self._renewed_s = float("-inf")
        self._lost_lease = False
        self._failed: PromotionRef | None = None  # on this machine alone
        self._retry_s, self._retry_at_s = FIRST_RETRY_S, 0.0
        # taken warm without a new attempt: what the worker began with, and what held
        self._sound = {active.current.version}
        self._status = ""

    def look(self) -> None:
        """Look at the registry at once, and try again what could not be served here."""
        self._failed = None
        self._look_now.set()

    def status(self) -> str:
        """Return the swap's stage, or why the active engine is not the promoted one."""
        return self._status

    def run(self) -> None:
        """Follow the registry until the worker drains."""
        while not self._worker.draining.is_set():
            self._look_now.wait(self._settings.look_s)
            if self._worker.draining.is_set():
                break
            try:
                self.step()
            except (ConnectionLost, RedisFull) as error:
                _log.warning("swap.waits", extra={"why": str(error)})
            except Exception as error:  # noqa: BLE001  # whatever fails here, parts are judged on
                self._report_local_failure(
                    self._wanted, f"unexpected {type(error).__name__}: {error}"
                )
                _log.exception("swap.failed")
        with suppress(ConnectionLost, RedisFull):  # then it counts as a death: it is tried again
            self._history.end_all()

    def step(self) -> None:
        """Look once, and do what the pointer asks for."""
        self._look_at_pointer()
        wanted, loaded = self._wanted, self._active.current
        if wanted is None:
            return
        record, before = self._history.find(wanted), self._active.previous
        if record is not None and record.state is RolloutState.REFUSED:
            self._avoid_refused(wanted, record.why)
        elif wanted.version == loaded.version:
            self._keep_current(wanted, record)
        elif before is not None and before.version == wanted.version and self._is_sound(before):
            self._activate_previous(before)
        elif self._may_try(wanted):
            self._try_promoted(wanted)

    def _is_sound(self, before: LoadedEngine) -> bool:
        return before.version in self._sound

    def _may_try(self, wanted: PromotionRef) -> bool:
        return wanted != self._failed or time.monotonic() >= self._retry_at_s

    def _look_at_pointer(self) -> None:
        with self._looking:
            self._look_now.clear()
            self._looked_s = time.monotonic()
            try:
                self._wanted = self._source.promoted()
            except EngineError as error:
                version = self._active.current.version
                self._set_status(f"keeps {version}: the registry is away: {error}")

    def _look_in_background(self) -> None:
        """Look in a thread, unless one is at it: a registry that hangs keeps nobody waiting."""
        if not self._looking.locked():
            threading.Thread(target=self._look_at_pointer, name="pointer", daemon=True).start()

    def _keep_current(self, wanted: PromotionRef, record: RolloutRecord | None) -> None:
        """Serve what is promoted, and say so to the line once it held."""
        verdicts = self._active.current.recent.total
        if record is None and wanted.version not in self._sound:
            self._history.begin(wanted)
        elif record is not None and record.state is RolloutState.TRYING:
            if verdicts < self._settings.watch_frames:
                self._set_status(
                    f"serves {wanted.version}, as promoted, with no engine to compare it with: "
                    f"{verdicts} of {self._settings.watch_frames} verdicts"
                )
                return
            self._accept(wanted)
        elif record is None or record.promoted_at != wanted.at:
            self._history.mark_held(wanted)
        self._set_status(f"serves {wanted.version}, as promoted")

    def _accept(self, wanted: PromotionRef) -> None:
        self._failed = None
        self._sound.add(wanted.version)
        self._history.mark_held(wanted)

    def _avoid_refused(self, refused: PromotionRef, why: str) -> None:
        """Do not serve what a worker of the line found wanting."""
        self._sound.discard(refused.version)
        loaded, before = self._active.current, self._active.previous
        if loaded.version != refused.version:
            self._set_status(f"keeps {loaded.version}: {refused.version} was refused: {why}")
        elif before is not None and self._is_sound(before):
            self._active.activate(before, on_probation=False)
            self._note_rollback(before.version, why)
        elif self._may_try(refused):
            self._load_earlier(refused, why)

    def _load_earlier(self, refused: PromotionRef, why: str) -> None:
        failures = []
        for earlier in self._source.start_candidates():
            if earlier.version == refused.version or self._history.is_refused(earlier):
                continue
            rollout = self._rollout(earlier.version, lambda: True)
            try:
                taken = rollout.activate_at_once(partial(self._prepare, earlier.version))
            except CannotServe as error:
                failures.append(f"{earlier.version} cannot be served here: {error}")
                continue
            if taken:
                self._note_rollback(earlier.version, why)
            return
        nothing = "; ".join(failures) or "no version before it is left"
        self._report_local_failure(refused, f"{refused.version} was refused ({why}), but {nothing}")

    def _note_rollback(self, version: str, why: str) -> None:
        self._sound.add(version)
        self._source.remember(version)
        self._worker.telemetry.swapped("rolled_back")
        _log.error("swap.rolled_back", extra={"to": version, "why": why})

    def _activate_previous(self, before: LoadedEngine) -> None:
        """Go back, or forward again: the other engine is warm and judges the next batch."""
        left = self._active.current.version
        self._active.activate(before, on_probation=False)
        self._worker.telemetry.swapped("swapped")
        _log.warning("swap.took_warm", extra={"from": left, "to": before.version})
        self._source.remember(before.version)

    def _try_promoted(self, wanted: PromotionRef) -> None:
        if not self._acquire_lease():
            self._set_status(f"waits to take {wanted.version}: another worker of the line swaps")
            return
        try:
            record = self._history.find(wanted)  # the one who swapped last may have judged it
            if record is not None and self._history.is_busy(record):
                self._set_status(f"waits to take {wanted.version}: {record.worker} tries it")
            elif record is not None and self._history.killed_workers(record):
                why = (
                    f"{record.tries} workers began to try it and died, the last was {record.worker}"
                )
                self._refuse(wanted, why, "refused")
            elif record is None or record.state is not RolloutState.REFUSED:
                self._history.begin(wanted)
                self._roll_out(wanted)
                self._look_now.set()  # the pointer may have moved meanwhile
        finally:
            with suppress(ConnectionLost, RedisFull):
                self._coordinator.release_lease()

    def _roll_out(self, wanted: PromotionRef) -> None:
        rollout = self._rollout(wanted.version, lambda: self._should_continue(wanted))
        try:
            result = rollout.run(partial(self._prepare, wanted.version))
        except CannotServe as error:
            self._report_local_failure(wanted, f"{wanted.version} cannot be served here: {error}")
            self._history.end(wanted)
            return
        except DoesNotHold as error:
            outcome = "rolled_back" if rollout.was_active else "refused"
            self._refuse(wanted, str(error), outcome)
            return
        except BaseException:
            self._history.end(wanted)  # a bug of ours: others may try
            raise
        if result is not RolloutResult.LEFT:
            self._worker.telemetry.swapped("swapped")
            self._source.remember(wanted.version)
        if result is RolloutResult.HELD:
            self._accept(wanted)
        else:
            self._history.end(wanted)

    def _rollout(self, version: str, should_continue: Callable[[], bool]) -> Rollout:
        return Rollout(
            version, self._active, self._worker, self._settings, should_continue, self._set_status
        )

    def _prepare(self, version: str) -> Callable[[], LoadedEngine]:
        path = self._source.fetch(version)
        return prepare_engine(path, self._options, version, self._active.current)

    def _should_continue(self, wanted: PromotionRef) -> bool:
        """Keep the lease, and look whether the version is still wanted.

        Who has lost the lease may not begin to judge with it; who judges watches to the end.
        """
        now_s = time.monotonic()
        if now_s - self._asked_s >= RENEW_EVERY_S:
            self._asked_s = now_s
            self._lost_lease = self._lost_lease or not self._renew_lease(now_s)
        if self._look_now.is_set() or now_s - self._looked_s >= self._settings.look_s:
            self._look_in_background()
        judges = self._active.current.version == wanted.version
        may = judges or not self._lost_lease
        return may and self._wanted == wanted and not self._worker.draining.is_set()

    def _acquire_lease(self) -> bool:
        self._asked_s = self._renewed_s = time.monotonic()
        self._lost_lease = not self._coordinator.acquire_lease(LEASE_MS)
        return not self._lost_lease

    def _renew_lease(self, now_s: float) -> bool:
        try:
            held = self._coordinator.acquire_lease(LEASE_MS)
        except (ConnectionLost, RedisFull):
            return now_s - self._renewed_s < LEASE_MS / 1000
        if held:
            self._renewed_s = now_s
        return held

    def _report_local_failure(self, wanted: PromotionRef | None, why: str) -> None:
        again = wanted is not None and wanted == self._failed
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S) if again else FIRST_RETRY_S
        self._failed, self._retry_at_s = wanted, time.monotonic() + self._retry_s
        self._worker.telemetry.swapped("kept")
        _log.error("swap.kept", extra={"serves": self._active.current.version, "why": why})
        self._set_status(f"keeps {self._active.current.version}: {why}")

    def _refuse(self, wanted: PromotionRef, why: str, outcome: str) -> None:
        self._worker.telemetry.swapped(outcome)
        extra = {"version": wanted.version, "serves": self._active.current.version, "why": why}
        _log.error("swap.refused", extra=extra)
        try:
            self._history.mark_refused(wanted, why)  # the others hear it before the lease is theirs
        finally:
            self._source.refuse(wanted, why, self._worker.name)

    def _set_status(self, what: str) -> None:
        self._status = what.encode(errors="replace").decode()  # a file's name may be no text
