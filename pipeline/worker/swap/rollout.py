"""One candidate's way in: load and warm, shadow, swap between two batches, watch."""

import enum
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from engines.errors import EngineError
from pipeline.errors import CannotServe, DoesNotHold
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.judge import DecisionThresholds
from pipeline.worker.swap.acceptance import (
    LOOK_EVERY,
    MIN_BASELINE,
    outside_band,
    passes_all_rejects,
    per_test_alpha,
)
from pipeline.worker.swap.interfaces import RolloutSettings, WorkerHandle
from pipeline.worker.swap.loading import warm_up
from pipeline.worker.swap.shadow import ShadowRun
from pipeline.worker.swap.thread_priority import EngineThreads

TICK_S = 0.05
SPARE_POLL_S = 0.005
SPARE_WAIT_S = 1.0  # a line that never rests must not keep the candidate out
REDIS_QUIET_S = 1.0  # verdicts of a time when Redis was away say nothing of an engine
_log = logging.getLogger(__name__)

# all that needs no engine's memory; gives what opens
Prepare = Callable[[], Callable[[], LoadedEngine]]
Made = TypeVar("Made")


class RolloutResult(enum.Enum):
    """How an attempt ended that found nothing wrong."""

    HELD = "it judges, and was watched to the end"
    UNWATCHED = "it judges, and nobody wants to know for how long"
    LEFT = "it never judged"


class Rollout:
    """Brings one version in, beside an incumbent that judges on."""

    def __init__(
        self,
        version: str,
        active: ActiveEngine,
        worker: WorkerHandle,
        settings: RolloutSettings,
        should_continue: Callable[[], bool],
        report_status: Callable[[str], None],
    ) -> None:
        """Take what it works with.

        Args:
            version: the candidate, as the registry names it.
            active: who judges.
            worker: the worker.
            settings: how long, how much.
            should_continue: called at every tick, returns at once; False once the version is no
                longer wanted.
            report_status: takes what the attempt is at.
        """
        self._version = version
        self._active = active
        self._worker = worker
        self._settings = settings
        self._should_continue = should_continue
        self._report_status = report_status
        self._threads = EngineThreads()
        self.was_active = False  # parts carry the candidate's name

    def run(self, prepare: Prepare) -> RolloutResult:
        """Bring it in. What was loaded in vain is closed.

        Raises:
            CannotServe: not on this machine; the incumbent judged on.
            DoesNotHold: it failed on live frames; the incumbent judges.
        """
        self._report_status(f"loads {self._version}")
        candidate = self._load(prepare)
        if candidate is None:
            return RolloutResult.LEFT
        try:
            self._shadow(candidate)
            wanted = self._should_continue()
        except BaseException:
            candidate.close()
            raise
        if not wanted:
            candidate.close()
            return RolloutResult.LEFT
        return self._activate(candidate)

    def activate_at_once(self, prepare: Prepare) -> bool:
        """Judge with it as soon as it is loaded, as it held before; return False if draining.

        Raises:
            CannotServe: not on this machine.
        """
        self._report_status(f"loads {self._version}")
        candidate = self._load(prepare)
        if candidate is None:
            return False
        self._threads.raise_again()
        self._active.activate(candidate, on_probation=False)
        return True

    def _load(self, prepare: Prepare) -> LoadedEngine | None:
        """Load and warm it; None where the worker drains meanwhile."""
        opens = self._in_background(prepare)
        if opens is None:
            return None
        # two engines are in memory, never three; and the one before is warm for as long as can be
        self._active.close_previous(self._worker.wait_for_lanes)
        return self._in_background(lambda: self._warm_up(opens()))

    def _in_background(self, make: Callable[[], Made]) -> Made | None:
        """Make something in a thread that yields to all; None where the worker drains meanwhile.

        Raises:
            CannotServe: it cannot be made here.
        """
        done: list[Made | Exception] = []
        handing = threading.Lock()
        left = threading.Event()

        def work() -> None:
            self._threads.lower()
            try:
                made: Made | Exception = make()
            except Exception as error:  # noqa: BLE001  # the edge of a thread: raised below
                made = error
            with handing:
                if not left.is_set():
                    done.append(made)
                elif isinstance(made, LoadedEngine):
                    made.close()

        loader = threading.Thread(target=work, name="loader", daemon=True)
        loader.start()
        while loader.is_alive():
            loader.join(TICK_S)
            self._should_continue()
            with handing:
                if self._worker.draining.is_set() and not done:
                    left.set()  # loading cannot be interrupted, and the process ends now
                    return None
        if isinstance(done[0], (EngineError, OSError)):
            raise CannotServe(str(done[0])) from done[0]
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    def _warm_up(self, candidate: LoadedEngine) -> LoadedEngine:
        """Warm it, unless the line's frames do not fit it."""
        try:
            self._check_size(candidate)
            self._warn_of_unused_lanes(candidate)
            warm_up(candidate, self._wait_for_spare_time)
        except BaseException:
            candidate.close()
            raise
        return candidate

    def _check_size(self, candidate: LoadedEngine) -> None:
        size = candidate.lanes[0].input_size
        usual = self._active.current.lanes[0].input_size
        if size != usual:
            raise CannotServe(
                f"it takes frames of {size[0]}x{size[1]} (height x width), this line's are "
                f"{usual[0]}x{usual[1]}: promote one of that size, or restart cameras with another "
                "--size, and workers"
            )

    def _warn_of_unused_lanes(self, candidate: LoadedEngine) -> None:
        lanes, runs = len(candidate.lanes), self._active.lanes
        if lanes > runs:
            do = "restart the worker to use them all"
            extra = {"version": self._version, "lanes": lanes, "used": runs, "do": do}
            _log.warning("swap.lanes_rest", extra=extra)

    def _wait_for_spare_time(self) -> None:
        until_s = time.monotonic() + SPARE_WAIT_S
        while not self._worker.has_spare_time() and time.monotonic() < until_s:
            time.sleep(SPARE_POLL_S)

    def _shadow(self, candidate: LoadedEngine) -> None:
        """Score live frames with it until it scored enough or its time is up."""
        run = ShadowRun(candidate, self._settings.shadow_share)
        until_s = time.monotonic() + self._settings.shadow_s
        self._active.shadow = run
        try:
            while run.by_chance < self._settings.shadow_frames and time.monotonic() < until_s:
                if not self._should_continue():
                    return
                if run.wait(TICK_S):
                    self._wait_for_spare_time()
                    run.score_one(self._worker.thresholds(candidate))
                    self._publish(run)
        except EngineError as error:
            raise DoesNotHold(f"it failed on a live frame: {error}") from error
        finally:
            self._active.shadow = None
        extra = {"version": self._version, "found": run.seen.sentence()}
        _log.info("swap.shadowed", extra=extra)
        why = passes_all_rejects(run.seen.ng, run.seen.passed)
        if why and self._use_own_thresholds(self._active.current, candidate):
            raise DoesNotHold(why)

    def _use_own_thresholds(self, *engines: LoadedEngine) -> bool:
        """Return whether all judge by their own thresholds, none by one that was set by hand."""
        return all(
            self._worker.thresholds(engine)
            == DecisionThresholds(engine.thresholds.image, engine.thresholds.pixel)
            for engine in engines
        )

    def _publish(self, run: ShadowRun) -> None:
        seen, telemetry = run.seen, self._worker.telemetry
        telemetry.shadow_frames.set(seen.frames)
        telemetry.shadow_differs.set(seen.decisions)
        telemetry.shadow_largest.set(seen.largest)
        telemetry.shadow_mean.set(seen.mean)
        self._report_status(f"shadows with {self._version}: {seen.sentence()}")

    def _activate(self, candidate: LoadedEngine) -> RolloutResult:
        incumbent = self._active.current
        self._threads.raise_again()
        active = self._active.activate(candidate, on_probation=True)
        self.was_active = True
        extra = {"from": incumbent.version or incumbent.name.version, "to": self._version}
        _log.info("swap.swapped", extra=extra)
        self._report_comparison(incumbent)
        try:
            result = self._watch(active, incumbent)
            self._accept(active)
        except DoesNotHold:
            self._active.close_previous(self._worker.wait_for_lanes)
            raise
        return result

    def _report_comparison(self, incumbent: LoadedEngine) -> None:
        if not self._use_own_thresholds(incumbent, self._active.current):
            self._report_status(
                f"watches the rate of {self._version}, not how many parts are NG: a threshold was "
                "set by hand. Look at its verdicts yourself"
            )
            return
        verdicts = incumbent.recent.counts(lambda *_: 0.0).frames
        if verdicts >= MIN_BASELINE:
            self._report_status(f"watches {self._version}")
            return
        self._report_status(
            f"watches {self._version}, but the engine before gave only {verdicts} verdicts to "
            "compare with: look at its verdicts yourself"
        )
        extra = {"version": self._version, "verdicts_before": verdicts, "wanted": MIN_BASELINE}
        _log.warning("swap.little_to_compare_with", extra=extra)

    def _accept(self, active: LoadedEngine) -> None:
        if not self._active.accept(active):  # a lane went back after the last look
            raise DoesNotHold(self._active.failure())

    def _watch(self, active: LoadedEngine, incumbent: LoadedEngine) -> RolloutResult:
        """Compare its verdicts with the incumbent's last ones, until it gave enough of them."""

        def time_ratio(frames: int, took_ms: float) -> float:
            return took_ms / max(incumbent.curve.ms(frames), 1e-3)

        before = incumbent.recent.counts(time_ratio)
        own_thresholds = self._use_own_thresholds(incumbent, active)
        manual_thresholds = self._worker.manual_thresholds()
        until_s = time.monotonic() + self._settings.watch_s
        looked_at = 0
        while True:
            if self._active.current is not active:  # a lane's engine was gone
                raise DoesNotHold(self._active.failure())
            if self._worker.manual_thresholds() != manual_thresholds:
                _log.info("swap.unwatched", extra={"why": "thresholds were changed by hand"})
                return RolloutResult.HELD
            if self._worker.redis_silence_s() > REDIS_QUIET_S:
                active.recent.clear()
                looked_at = 0
            verdicts = active.recent.total
            over = verdicts >= self._settings.watch_frames or time.monotonic() >= until_s
            if over or verdicts - looked_at >= LOOK_EVERY:
                looked_at = verdicts
                after = active.recent.counts(time_ratio)
                self._compare(
                    active, outside_band(before, after, *self._tolerance(), alike=own_thresholds)
                )
            if over:
                _log.info("swap.held", extra={"version": self._version, "verdicts": verdicts})
                return RolloutResult.HELD
            if not self._should_continue():
                return RolloutResult.UNWATCHED
            self._worker.draining.wait(TICK_S)

    def _tolerance(self) -> tuple[float, float]:
        return self._settings.slower, per_test_alpha(self._settings.watch_frames)

    def _compare(self, active: LoadedEngine, why: str) -> None:
        if why and self._active.roll_back(active, why):
            raise DoesNotHold(why)
