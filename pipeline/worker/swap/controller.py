"""The swapper: looks at the registry, and brings in what it promotes.

It makes no verdict wait: the newcomer scores in spare time, and what changes at the swap is one
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
from pipeline.wire import Standing, Trial
from pipeline.worker.active_engine import InForce, Serving
from pipeline.worker.swap.engine_source import Promotion, Source
from pipeline.worker.swap.history import Trials
from pipeline.worker.swap.interfaces import Agreement, Around, Pace
from pipeline.worker.swap.loading import Way, prepare_serving
from pipeline.worker.swap.rollout import Attempt, Ending

LEASE_MS = 10_000
HOLD_EVERY_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 30.0, 3600.0  # after what went wrong on this machine alone
_log = logging.getLogger(__name__)


class Swapper:
    """Keeps in force what the registry promotes, while it holds on live frames."""

    def __init__(
        self,
        in_force: InForce,
        source: Source,
        agreement: Agreement,
        way: Way,
        around: Around,
        pace: Pace,
    ) -> None:
        self._in_force = in_force
        self._source = source
        self._agreement = agreement
        self._trials = Trials(agreement)
        self._way = way
        self._around = around
        self._pace = pace
        self._nudged = threading.Event()
        self._wanted: Promotion | None = None
        self._looking = threading.Lock()
        self._looked_s = self._asked_s = self._held_s = float("-inf")
        self._lost_lease = False
        self._failed: Promotion | None = None  # on this machine alone
        self._retry_s, self._retry_at_s = FIRST_RETRY_S, 0.0
        # taken warm without a new attempt: what the worker began with, and what held
        self._sound = {in_force.serving.version}
        self._said = ""

    def look(self) -> None:
        """Look at the registry at once, and try again what could not be served here."""
        self._failed = None
        self._nudged.set()

    def says(self) -> str:
        """Say what the swap is at, or why the engine in force is not the promoted one."""
        return self._said

    def run(self) -> None:
        """Follow the registry until the worker drains."""
        while not self._around.draining.is_set():
            self._nudged.wait(self._pace.look_s)
            if self._around.draining.is_set():
                break
            try:
                self.step()
            except (ConnectionLost, RedisFull) as error:
                _log.warning("swap.waits", extra={"why": str(error)})
            except Exception as error:  # noqa: BLE001  # whatever fails here, parts are judged on
                self._fail_here(self._wanted, f"unexpected {type(error).__name__}: {error}")
                _log.exception("swap.failed")
        with suppress(ConnectionLost, RedisFull):  # then it counts as a death: it is tried again
            self._trials.end_all()

    def step(self) -> None:
        """Look once, and do what the pointer asks for."""
        self._look_at_pointer()
        wanted, serving = self._wanted, self._in_force.serving
        if wanted is None:
            return
        trial, before = self._trials.of(wanted), self._in_force.before
        if trial is not None and trial.standing is Standing.REFUSED:
            self._keep_from(wanted, trial.why)
        elif wanted.version == serving.version:
            self._stay(wanted, trial)
        elif before is not None and before.version == wanted.version and self._is_sound(before):
            self._take_warm(before)
        elif self._may_try(wanted):
            self._bring_in(wanted)

    def _is_sound(self, before: Serving) -> bool:
        return before.version in self._sound

    def _may_try(self, wanted: Promotion) -> bool:
        return wanted != self._failed or time.monotonic() >= self._retry_at_s

    def _look_at_pointer(self) -> None:
        with self._looking:
            self._nudged.clear()
            self._looked_s = time.monotonic()
            try:
                self._wanted = self._source.promoted()
            except EngineError as error:
                version = self._in_force.serving.version
                self._say(f"keeps {version}: the registry is away: {error}")

    def _look_aside(self) -> None:
        """Look in a thread, unless one is at it: a registry that hangs keeps nobody waiting."""
        if not self._looking.locked():
            threading.Thread(target=self._look_at_pointer, name="pointer", daemon=True).start()

    def _stay(self, wanted: Promotion, trial: Trial | None) -> None:
        """Serve what is promoted, and say so to the line once it held."""
        verdicts = self._in_force.serving.record.verdicts
        if trial is None and wanted.version not in self._sound:
            self._trials.begin(wanted)
        elif trial is not None and trial.standing is Standing.TRYING:
            if verdicts < self._pace.watch_frames:
                self._say(
                    f"serves {wanted.version}, as promoted, with no engine to compare it with: "
                    f"{verdicts} of {self._pace.watch_frames} verdicts"
                )
                return
            self._held(wanted)
        elif trial is None or trial.promoted_at != wanted.at:
            self._trials.hold(wanted)
        self._say(f"serves {wanted.version}, as promoted")

    def _held(self, wanted: Promotion) -> None:
        self._failed = None
        self._sound.add(wanted.version)
        self._trials.hold(wanted)

    def _keep_from(self, refused: Promotion, why: str) -> None:
        """Do not serve what a worker of the line found wanting."""
        self._sound.discard(refused.version)
        serving, before = self._in_force.serving, self._in_force.before
        if serving.version != refused.version:
            self._say(f"keeps {serving.version}: {refused.version} was refused: {why}")
        elif before is not None and self._is_sound(before):
            self._in_force.take(before, on_probation=False)
            self._went_back(before.version, why)
        elif self._may_try(refused):
            self._load_earlier(refused, why)

    def _load_earlier(self, refused: Promotion, why: str) -> None:
        failures = []
        for earlier in self._source.for_a_start():
            if earlier.version == refused.version or self._trials.refused(earlier):
                continue
            attempt = self._attempt(earlier.version, lambda: True)
            try:
                taken = attempt.take_at_once(partial(self._prepare, earlier.version))
            except CannotServe as error:
                failures.append(f"{earlier.version} cannot be served here: {error}")
                continue
            if taken:
                self._went_back(earlier.version, why)
            return
        nothing = "; ".join(failures) or "no version before it is left"
        self._fail_here(refused, f"{refused.version} was refused ({why}), but {nothing}")

    def _went_back(self, version: str, why: str) -> None:
        self._sound.add(version)
        self._source.remember(version)
        self._around.telemetry.swapped("rolled_back")
        _log.error("swap.rolled_back", extra={"to": version, "why": why})

    def _take_warm(self, before: Serving) -> None:
        """Go back, or forward again: the other engine is warm and judges the next batch."""
        left = self._in_force.serving.version
        self._in_force.take(before, on_probation=False)
        self._around.telemetry.swapped("swapped")
        _log.warning("swap.took_warm", extra={"from": left, "to": before.version})
        self._source.remember(before.version)

    def _bring_in(self, wanted: Promotion) -> None:
        if not self._take_lease():
            self._say(f"waits to take {wanted.version}: another worker of the line swaps")
            return
        try:
            trial = self._trials.of(wanted)  # the one who swapped last may have judged it
            if trial is not None and self._trials.busy(trial):
                self._say(f"waits to take {wanted.version}: {trial.worker} tries it")
            elif trial is not None and self._trials.killed(trial):
                why = f"{trial.tries} workers began to try it and died, the last was {trial.worker}"
                self._refuse(wanted, why, "refused")
            elif trial is None or trial.standing is not Standing.REFUSED:
                self._trials.begin(wanted)
                self._try(wanted)
                self._nudged.set()  # the pointer may have moved meanwhile
        finally:
            with suppress(ConnectionLost, RedisFull):
                self._agreement.let_go()

    def _try(self, wanted: Promotion) -> None:
        attempt = self._attempt(wanted.version, lambda: self._goes_on(wanted))
        try:
            ending = attempt.run(partial(self._prepare, wanted.version))
        except CannotServe as error:
            self._fail_here(wanted, f"{wanted.version} cannot be served here: {error}")
            self._trials.end(wanted)
            return
        except DoesNotHold as error:
            outcome = "rolled_back" if attempt.judged else "refused"
            self._refuse(wanted, str(error), outcome)
            return
        except BaseException:
            self._trials.end(wanted)  # a bug of ours: others may try
            raise
        if ending is not Ending.LEFT:
            self._around.telemetry.swapped("swapped")
            self._source.remember(wanted.version)
        if ending is Ending.HELD:
            self._held(wanted)
        else:
            self._trials.end(wanted)

    def _attempt(self, version: str, go_on: Callable[[], bool]) -> Attempt:
        return Attempt(version, self._in_force, self._around, self._pace, go_on, self._say)

    def _prepare(self, version: str) -> Callable[[], Serving]:
        path = self._source.fetch(version)
        return prepare_serving(path, self._way, version, self._in_force.serving)

    def _goes_on(self, wanted: Promotion) -> bool:
        """Keep the lease, and look whether the version is still wanted.

        Who has lost the lease may not begin to judge with it; who judges watches to the end.
        """
        now_s = time.monotonic()
        if now_s - self._asked_s >= HOLD_EVERY_S:
            self._asked_s = now_s
            self._lost_lease = self._lost_lease or not self._keep_lease(now_s)
        if self._nudged.is_set() or now_s - self._looked_s >= self._pace.look_s:
            self._look_aside()
        judges = self._in_force.serving.version == wanted.version
        may = judges or not self._lost_lease
        return may and self._wanted == wanted and not self._around.draining.is_set()

    def _take_lease(self) -> bool:
        self._asked_s = self._held_s = time.monotonic()
        self._lost_lease = not self._agreement.hold(LEASE_MS)
        return not self._lost_lease

    def _keep_lease(self, now_s: float) -> bool:
        try:
            held = self._agreement.hold(LEASE_MS)
        except (ConnectionLost, RedisFull):
            return now_s - self._held_s < LEASE_MS / 1000
        if held:
            self._held_s = now_s
        return held

    def _fail_here(self, wanted: Promotion | None, why: str) -> None:
        again = wanted is not None and wanted == self._failed
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S) if again else FIRST_RETRY_S
        self._failed, self._retry_at_s = wanted, time.monotonic() + self._retry_s
        self._around.telemetry.swapped("kept")
        _log.error("swap.kept", extra={"serves": self._in_force.serving.version, "why": why})
        self._say(f"keeps {self._in_force.serving.version}: {why}")

    def _refuse(self, wanted: Promotion, why: str, outcome: str) -> None:
        self._around.telemetry.swapped(outcome)
        extra = {"version": wanted.version, "serves": self._in_force.serving.version, "why": why}
        _log.error("swap.refused", extra=extra)
        try:
            self._trials.refuse(wanted, why)  # the others hear it before the lease is theirs
        finally:
            self._source.refuse(wanted, why, self._around.name)

    def _say(self, what: str) -> None:
        self._said = what.encode(errors="replace").decode()  # a file's name may be no text
