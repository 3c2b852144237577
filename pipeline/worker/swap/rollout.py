"""One newcomer's way in: load and warm, shadow, swap between two batches, watch."""

import enum
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from engines.errors import EngineError
from pipeline.errors import CannotServe, DoesNotHold
from pipeline.worker.active_engine import InForce, Serving
from pipeline.worker.judge import Limits
from pipeline.worker.swap.acceptance import LITTLE, LOOK_EVERY, leaves, level, passes_all
from pipeline.worker.swap.interfaces import Around, Pace
from pipeline.worker.swap.loading import warm
from pipeline.worker.swap.shadow import ShadowRun
from pipeline.worker.swap.thread_priority import EngineThreads

TICK_S = 0.05
SPARE_POLL_S = 0.005
SPARE_WAIT_S = 1.0  # a line that never rests must not keep the newcomer out
REDIS_QUIET_S = 1.0  # verdicts of a time when Redis was away say nothing of an engine
_log = logging.getLogger(__name__)

Prepare = Callable[[], Callable[[], Serving]]  # all that needs no engine's memory; gives what opens
Made = TypeVar("Made")


class Ending(enum.Enum):
    """How an attempt ended that found nothing wrong."""

    HELD = "it judges, and was watched to the end"
    UNWATCHED = "it judges, and nobody wants to know for how long"
    LEFT = "it never judged"


class Attempt:
    """Brings one version in, beside an incumbent that judges on."""

    def __init__(
        self,
        version: str,
        in_force: InForce,
        around: Around,
        pace: Pace,
        go_on: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        """Take what it works with.

        Args:
            version: the newcomer, as the registry names it.
            in_force: who judges.
            around: the worker.
            pace: how long, how much.
            go_on: called at every tick, returns at once; False once the version is no longer
                wanted.
            say: takes what the attempt is at.
        """
        self._version = version
        self._in_force = in_force
        self._around = around
        self._pace = pace
        self._go_on = go_on
        self._say = say
        self._threads = EngineThreads()
        self.judged = False  # parts carry the newcomer's name

    def run(self, prepare: Prepare) -> Ending:
        """Bring it in. What was loaded in vain is closed.

        Raises:
            CannotServe: not on this machine; the incumbent judged on.
            DoesNotHold: it failed on live frames; the incumbent judges.
        """
        self._say(f"loads {self._version}")
        newcomer = self._loaded(prepare)
        if newcomer is None:
            return Ending.LEFT
        try:
            self._shadow(newcomer)
            wanted = self._go_on()
        except BaseException:
            newcomer.close()
            raise
        if not wanted:
            newcomer.close()
            return Ending.LEFT
        return self._swap(newcomer)

    def take_at_once(self, prepare: Prepare) -> bool:
        """Let it judge as soon as it is loaded: it held before; False where the worker drains.

        Raises:
            CannotServe: not on this machine.
        """
        self._say(f"loads {self._version}")
        newcomer = self._loaded(prepare)
        if newcomer is None:
            return False
        self._threads.raise_again()
        self._in_force.take(newcomer, on_probation=False)
        return True

    def _loaded(self, prepare: Prepare) -> Serving | None:
        """Load and warm it; None where the worker drains meanwhile."""
        opens = self._aside(prepare)
        if opens is None:
            return None
        # two engines are in memory, never three; and the one before is warm for as long as can be
        self._in_force.drop_before(self._around.no_lane_uses_it)
        return self._aside(lambda: self._warmed(opens()))

    def _aside(self, make: Callable[[], Made]) -> Made | None:
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
                elif isinstance(made, Serving):
                    made.close()

        loader = threading.Thread(target=work, name="loader", daemon=True)
        loader.start()
        while loader.is_alive():
            loader.join(TICK_S)
            self._go_on()
            with handing:
                if self._around.draining.is_set() and not done:
                    left.set()  # loading cannot be interrupted, and the process ends now
                    return None
        if isinstance(done[0], (EngineError, OSError)):
            raise CannotServe(str(done[0])) from done[0]
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    def _warmed(self, newcomer: Serving) -> Serving:
        """Warm it, unless the line's frames do not fit it."""
        try:
            self._check_size(newcomer)
            self._say_if_lanes_rest(newcomer)
            warm(newcomer, self._wait_for_spare_time)
        except BaseException:
            newcomer.close()
            raise
        return newcomer

    def _check_size(self, newcomer: Serving) -> None:
        size = newcomer.lanes[0].input_size
        usual = self._in_force.serving.lanes[0].input_size
        if size != usual:
            raise CannotServe(
                f"it takes frames of {size[0]}x{size[1]} (height x width), this line's are "
                f"{usual[0]}x{usual[1]}: promote one of that size, or restart cameras with another "
                "--size, and workers"
            )

    def _say_if_lanes_rest(self, newcomer: Serving) -> None:
        lanes, runs = len(newcomer.lanes), self._in_force.lanes
        if lanes > runs:
            do = "restart the worker to use them all"
            extra = {"version": self._version, "lanes": lanes, "used": runs, "do": do}
            _log.warning("swap.lanes_rest", extra=extra)

    def _wait_for_spare_time(self) -> None:
        until_s = time.monotonic() + SPARE_WAIT_S
        while not self._around.spare() and time.monotonic() < until_s:
            time.sleep(SPARE_POLL_S)

    def _shadow(self, newcomer: Serving) -> None:
        """Let it score live frames, until it scored enough or its time is up."""
        run = ShadowRun(newcomer, self._pace.shadow_share)
        until_s = time.monotonic() + self._pace.shadow_s
        self._in_force.shadow = run
        try:
            while run.by_chance < self._pace.shadow_frames and time.monotonic() < until_s:
                if not self._go_on():
                    return
                if run.wait(TICK_S):
                    self._wait_for_spare_time()
                    run.score_one(self._around.limits(newcomer))
                    self._publish(run)
        except EngineError as error:
            raise DoesNotHold(f"it failed on a live frame: {error}") from error
        finally:
            self._in_force.shadow = None
        extra = {"version": self._version, "found": run.seen.sentence()}
        _log.info("swap.shadowed", extra=extra)
        why = passes_all(run.seen.ng, run.seen.passed)
        if why and self._alike(self._in_force.serving, newcomer):
            raise DoesNotHold(why)

    def _alike(self, *engines: Serving) -> bool:
        """Whether all judge by their own thresholds, none by one that was set by hand."""
        return all(
            self._around.limits(one) == Limits(one.thresholds.image, one.thresholds.pixel)
            for one in engines
        )

    def _publish(self, run: ShadowRun) -> None:
        seen, telemetry = run.seen, self._around.telemetry
        telemetry.shadow_frames.set(seen.frames)
        telemetry.shadow_differs.set(seen.decisions)
        telemetry.shadow_largest.set(seen.largest)
        telemetry.shadow_mean.set(seen.mean)
        self._say(f"shadows with {self._version}: {seen.sentence()}")

    def _swap(self, newcomer: Serving) -> Ending:
        incumbent = self._in_force.serving
        self._threads.raise_again()
        fresh = self._in_force.take(newcomer, on_probation=True)
        self.judged = True
        extra = {"from": incumbent.version or incumbent.name.version, "to": self._version}
        _log.info("swap.swapped", extra=extra)
        self._say_what_is_compared(incumbent)
        try:
            ending = self._watch(fresh, incumbent)
            self._prove(fresh)
        except DoesNotHold:
            self._in_force.drop_before(self._around.no_lane_uses_it)
            raise
        return ending

    def _say_what_is_compared(self, incumbent: Serving) -> None:
        if not self._alike(incumbent, self._in_force.serving):
            self._say(
                f"watches the rate of {self._version}, not how many parts are NG: a threshold was "
                "set by hand. Look at its verdicts yourself"
            )
            return
        verdicts = incumbent.record.figures(lambda *_: 0.0).frames
        if verdicts >= LITTLE:
            self._say(f"watches {self._version}")
            return
        self._say(
            f"watches {self._version}, but the engine before gave only {verdicts} verdicts to "
            "compare with: look at its verdicts yourself"
        )
        extra = {"version": self._version, "verdicts_before": verdicts, "wanted": LITTLE}
        _log.warning("swap.little_to_compare_with", extra=extra)

    def _prove(self, fresh: Serving) -> None:
        if not self._in_force.prove(fresh):  # a lane went back after the last look
            raise DoesNotHold(self._in_force.trouble())

    def _watch(self, fresh: Serving, incumbent: Serving) -> Ending:
        """Compare its verdicts with the incumbent's last ones, until it gave enough of them."""

        def pace(frames: int, took_ms: float) -> float:
            return took_ms / max(incumbent.curve.ms(frames), 1e-3)

        before = incumbent.record.figures(pace)
        alike = self._alike(incumbent, fresh)
        by_hand = self._around.set_by_hand()
        until_s = time.monotonic() + self._pace.watch_s
        looked_at = 0
        while True:
            if self._in_force.serving is not fresh:  # a lane's engine was gone
                raise DoesNotHold(self._in_force.trouble())
            if self._around.set_by_hand() != by_hand:
                _log.info("swap.unwatched", extra={"why": "thresholds were changed by hand"})
                return Ending.HELD
            if self._around.unseen_s() > REDIS_QUIET_S:
                fresh.record.begin_anew()
                looked_at = 0
            verdicts = fresh.record.verdicts
            over = verdicts >= self._pace.watch_frames or time.monotonic() >= until_s
            if over or verdicts - looked_at >= LOOK_EVERY:
                looked_at = verdicts
                after = fresh.record.figures(pace)
                self._compare(fresh, leaves(before, after, *self._band(), alike=alike))
            if over:
                _log.info("swap.held", extra={"version": self._version, "verdicts": verdicts})
                return Ending.HELD
            if not self._go_on():
                return Ending.UNWATCHED
            self._around.draining.wait(TICK_S)

    def _band(self) -> tuple[float, float]:
        return self._pace.slower, level(self._pace.watch_frames)

    def _compare(self, fresh: Serving, why: str) -> None:
        if why and self._in_force.go_back(fresh, why):
            raise DoesNotHold(why)
