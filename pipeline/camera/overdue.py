"""What a camera sees to beside frames: deadlines where no worker is, its name, a fit Redis."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import ConnectionLost, PipelineError, RedisFull

LOOK_S = 0.25
_log = logging.getLogger(__name__)


@contextmanager
def kept_up(expire: Callable[[], int], *keep: Callable[[], object]) -> Iterator[None]:
    """Call all now and then while the context lasts; workers expire too, and sooner."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            try:
                for duty in keep:
                    duty()
                if answered := expire():
                    _log.warning("frames.overdue", extra={"frames": answered})
            except (ConnectionLost, RedisFull):
                continue  # whoever offers frames says so
            except PipelineError as error:
                _log.error("overdue.ended", extra={"why": str(error)})  # no bug: a server's refusal
                return

    thread = threading.Thread(target=look, name="overdue", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
