"""The swapper: looks at the registry, and brings in what it promotes.

It makes no verdict wait: the newcomer scores in spare time, and what changes at the swap is one
attribute, which every lane reads once a batch.
"""

import logging
import threading
import time
from contextlib import suppress

from engines.errors import EngineError
from pipeline.errors import CannotServe, ConnectionLost, DoesNotHold, RedisFull
from pipeline.wire import Refusal, encode_refusal
from pipeline.worker.serving import InForce, Serving
from pipeline.worker.swap.around import Agreement, Around, Pace
from pipeline.worker.swap.attempt import Attempt
from pipeline.worker.swap.load import Way, open_serving
from pipeline.worker.swap.refusals import refusal_of
from pipeline.worker.swap.registry import Promotion, Source

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
        self._way = way
        self._around = around
        self._pace = pace
        self._nudged = threading.Event()
        self._wanted: Promotion | None = None
        self._looked_s = self._held_s = float("-inf")
        self._failed: Promotion | None = None  # on this machine alone
        self._retry_s, self._retry_at_s = FIRST_RETRY_S, 0.0
        self._untold: Refusal | None = None  # Redis has not heard it yet
        self._said = ""

    def look(self) -> None:
        """Look at the registry at once, and try again what could not be served here."""
        self._failed, self._retry_s = None, FIRST_RETRY_S
        self._nudged.set()

    def says(self) -> str:
        """Say what the swap is at, or why the engine in force is not the promoted one."""
        return self._said

    def run(self) -> None:
        """Follow the registry until the worker drains."""
        while not self._around.draining.is_set():
            self._nudged.wait(self._pace.look_s)
            if self._around.draining.is_set():
                return
            try:
                self.step()
            except (ConnectionLost, RedisFull) as error:
                _log.warning("swap.waits", extra={"why": str(error)})
            except Exception as error:  # noqa: BLE001  # whatever fails here, parts are judged on
                self._failed = self._wanted
                self._fail_here(f"unexpected {type(error).__name__}: {error}")
                _log.exception("swap.failed")

    def step(self) -> None:
        """Look once, and do what the pointer asks for."""
        self._look_at_pointer()
        wanted, serving = self._wanted, self._in_force.serving
        if wanted is None:
            return
        refusal = self._refusal_of(wanted)
        before = self._in_force.before
        if wanted.version == serving.version:
            self._stay(wanted, refusal)
        elif refusal is not None:
            self._say(f"keeps {serving.version}: {wanted.version} was refused: {refusal.why}")
        elif before is not None and before.version == wanted.version:
            self._take_warm(before)
        elif wanted != self._failed or time.monotonic() >= self._retry_at_s:
            self._bring_in(wanted)

    def _look_at_pointer(self) -> None:
        self._nudged.clear()
        self._looked_s = time.monotonic()
        try:
            self._wanted = self._source.promoted()
        except EngineError as error:
            self._say(f"keeps {self._in_force.serving.version}: the registry is away: {error}")

    def _stay(self, wanted: Promotion, refusal: Refusal | None) -> None:
        before = self._in_force.before
        if refusal is None or before is None:
            self._say(f"serves {wanted.version}, as promoted")
            return
        self._in_force.take(before, on_probation=False)  # another worker found it wanting
        self._source.remember(before.version)
        self._around.telemetry.swapped("rolled_back")
        _log.error("swap.rolled_back", extra={"to": before.version, "why": refusal.why})

    def _take_warm(self, before: Serving) -> None:
        """Go back, or forward again: the other engine is warm and judges the next batch."""
        left = self._in_force.serving.version
        self._in_force.take(before, on_probation=False)
        self._around.telemetry.swapped("swapped")
        _log.warning("swap.took_warm", extra={"from": left, "to": before.version})
        self._source.remember(before.version)

    def _bring_in(self, wanted: Promotion) -> None:
        if not self._agreement.hold(LEASE_MS):
            self._say(f"waits to take {wanted.version}: another worker of the line swaps")
            return
        self._held_s = time.monotonic()
        attempt = Attempt(
            wanted.version,
            self._in_force,
            self._around,
            self._pace,
            lambda: self._goes_on(wanted),
            self._say,
        )
        try:
            if attempt.run(lambda: self._open(wanted.version)):
                self._around.telemetry.swapped("swapped")
                self._source.remember(wanted.version)
        except CannotServe as error:
            self._failed = wanted
            self._fail_here(f"{wanted.version} cannot be served here: {error}")
        except DoesNotHold as error:
            self._refuse(wanted, str(error))
        finally:
            self._nudged.set()  # the pointer may have moved meanwhile
            with suppress(ConnectionLost, RedisFull):
                self._agreement.let_go()

    def _open(self, version: str) -> Serving:
        path = self._source.fetch(version)
        return open_serving(path, self._way, version, self._in_force.serving)

    def _goes_on(self, wanted: Promotion) -> bool:
        """Keep the lease, and look whether the version is still wanted."""
        now_s = time.monotonic()
        if now_s - self._held_s >= HOLD_EVERY_S:
            self._held_s = now_s
            with suppress(ConnectionLost, RedisFull):  # then it runs out, and another may begin
                self._agreement.hold(LEASE_MS)
        if self._nudged.is_set() or now_s - self._looked_s >= self._pace.look_s:
            self._look_at_pointer()
        return self._wanted == wanted and not self._around.draining.is_set()

    def _fail_here(self, why: str) -> None:
        self._retry_at_s = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        self._around.telemetry.swapped("kept")
        _log.error("swap.kept", extra={"serves": self._in_force.serving.version, "why": why})
        self._say(f"keeps {self._in_force.serving.version}: {why}")

    def _refuse(self, wanted: Promotion, why: str) -> None:
        self._untold = Refusal(wanted.version, wanted.at, why, self._around.name)
        self._around.telemetry.swapped("refused")
        extra = {"version": wanted.version, "serves": self._in_force.serving.version, "why": why}
        _log.error("swap.refused", extra=extra)
        self._refusal_of(wanted)  # tell the others before the lease is theirs

    def _refusal_of(self, wanted: Promotion) -> Refusal | None:
        if self._untold is not None:
            self._agreement.refuse(encode_refusal(self._untold))
            self._untold = None
        return refusal_of(wanted, self._agreement)

    def _say(self, what: str) -> None:
        self._said = what.encode(errors="replace").decode()  # a file's name may be no text
