"""A camera's name belongs to one process at a time."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pipeline.errors import ConnectionLost, RedisFull, SettingsError
from pipeline.streams.intake import Intake

LASTS_MS = 2000  # after a kill the successor waits so long
WAIT_S = 5.0
_POLL_S = 0.1


@contextmanager
def name_held(
    intake: Intake, camera: str, stopped: Callable[[], bool]
) -> Iterator[Callable[[], object]]:
    """Hold the name while the context lasts; yields what must be called now and then to keep it.

    Raises:
        SettingsError: another process holds it.
    """
    token = secrets.token_hex(8)
    deadline_s = time.monotonic() + WAIT_S
    while not intake.hold(token, LASTS_MS):
        if time.monotonic() > deadline_s or stopped():
            raise SettingsError(
                f"another pipeline-camera is {camera!r} already: give this one its own --camera"
            )
        time.sleep(_POLL_S)
    try:
        yield lambda: intake.hold(token, LASTS_MS)
    finally:
        with suppress(ConnectionLost, RedisFull):
            intake.let_go(token)
