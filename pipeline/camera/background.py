"""What a camera does beside offering frames.

It holds its name, which belongs to one process at a time, answers overdue frames where no worker
is alive, and checks that Redis is still fit.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pipeline.errors import ConnectionLost, PipelineError, RedisFull, RefusedFrame, SettingsError
from pipeline.streams.frame_producer import FrameProducer

LEASE_MS = 2000  # after a kill the successor waits so long
WAIT_S = 5.0
_POLL_S = 0.1
LOOK_S = 0.25
_log = logging.getLogger(__name__)


@contextmanager
def name_lease(
    producer: FrameProducer, camera: str, stopped: Callable[[], bool], stop: Callable[[], object]
) -> Iterator[Callable[[], object]]:
    """Hold the name while the context lasts; yields what must be called now and then to keep it.

    A process that was held up for longer than the lease may find its name taken: then `stop` is
    called, for two processes under one name would drop each other's frames.

    Raises:
        SettingsError: another process holds it.
        RefusedFrame: another process took it meanwhile.
    """
    token = secrets.token_hex(8)
    deadline_s = time.monotonic() + WAIT_S
    while not producer.acquire_lease(token, LEASE_MS):
        if time.monotonic() > deadline_s or stopped():
            raise SettingsError(
                f"another pipeline-camera is {camera!r} already: give this one its own --camera"
            )
        time.sleep(_POLL_S)
    lost = threading.Event()

    def keep() -> None:
        if not lost.is_set() and not producer.acquire_lease(token, LEASE_MS):
            lost.set()
            why = f"this process stood still for longer than {LEASE_MS / 1000:g} s"
            _log.error("camera.name_lost", extra={"camera": camera, "why": why})
            stop()

    try:
        yield keep
    finally:
        with suppress(ConnectionLost, RedisFull):
            producer.release_lease(token)
    if lost.is_set():
        raise RefusedFrame(
            f"another pipeline-camera has taken the name {camera!r} while this one stood still: "
            "run one process under each --camera"
        )


@contextmanager
def run_in_background(expire: Callable[[], int], *tasks: Callable[[], object]) -> Iterator[None]:
    """Call all now and then while the context lasts; workers expire too, and sooner."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            try:
                for task in tasks:
                    task()
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
