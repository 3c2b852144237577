"""How a worker stops: first it drains, then it gives up, and why."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Halt:
    """The two steps of stopping, and what went wrong if something did."""

    def __init__(self) -> None:
        self.draining = threading.Event()  # read nothing more, answer what is in hand
        self.giving_up = threading.Event()  # do not wait for Redis any longer
        self.failure = ""

    def fail(self, why: str) -> None:
        """Stop because of an error; the first one is kept."""
        self.failure = self.failure or why
        self.draining.set()

    def guard(self, run: Callable[[], None], name: str) -> threading.Thread:
        """Make a thread whose unexpected error stops the worker instead of passing unseen."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001  # the edge of a thread
                self.fail(f"{name}: {error}")
                self.giving_up.set()
                _log.exception("thread.failed", extra={"in": name})

        return threading.Thread(target=guarded, name=name, daemon=True)
