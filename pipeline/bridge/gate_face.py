"""The part of a gate that every wire has alike: verdicts into views, and what a PLC asks for."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.gate_view import GateView
from pipeline.bridge.report import VerdictReport

MOST_PENDING = 4096


class GateServer(Protocol):
    """Serves the views to PLCs, from a thread of its own."""

    port: int  # that it listens on

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: nothing can listen there.
        """
        ...

    def alive(self) -> bool:
        """Return whether it still serves."""
        ...

    def stop(self) -> None:
        """Close every connection and end the thread."""
        ...


class GateFace:
    """Shows verdicts until their deadline, in one view per camera."""

    gate = True
    most_pending = MOST_PENDING

    def __init__(
        self,
        views: Mapping[str, GateView],
        lock: threading.Lock,
        server: GateServer,
        now_ms: Callable[[], float | None],
        listening: Callable[[int], None],
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            views: what each camera shows, by its name.
            lock: held around every call of a view, by the server too.
            server: shows the views to PLCs.
            now_ms: Redis's time, from any thread.
            listening: called with the port once the server listens.
        """
        self._views = views
        self._lock = lock
        self._server = server
        self._now_ms = now_ms
        self._listening = listening

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def start(self) -> None:
        """Listen."""
        self._server.start()
        self._listening(self.port)

    def show(self, state: BridgeState) -> None:
        """Show the state at every camera."""
        with self._lock:
            for view in self._views.values():
                view.show(state)

    def deliver(self, report: VerdictReport) -> Outcome:
        """Put a verdict into its slot."""
        with self._lock:
            view = self._views.get(report.camera)
            return Outcome.HOMELESS if view is None else view.put(report, self._now_ms())

    def skip(self, report: VerdictReport) -> None:
        """Count a verdict that came without time left."""
        with self._lock:
            if view := self._views.get(report.camera):
                view.skip()

    def settled(self) -> list[tuple[str, Outcome]]:
        """Return what a PLC confirmed, and what is past its deadline."""
        with self._lock:
            now_ms = self._now_ms()
            return [settled for view in self._views.values() for settled in view.settle(now_ms)]

    def requests(self) -> Iterator[PlcRequest]:
        """Return which cameras' stop signals a PLC wants to be cleared."""
        with self._lock:
            asked = [camera for camera, view in self._views.items() if view.take_clear_stop()]
        return (PlcRequest(camera, clear_stop=True) for camera in asked)

    def failure(self) -> str:
        """Return why it no longer serves, or nothing."""
        return "" if self._server.alive() else "the server of the gate has ended"

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()
