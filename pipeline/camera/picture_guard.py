"""A picture that ends the camera process again and again is offered as unreadable.

Checks and limits keep a picture from harming its reader. Should one get past them and kill the
process, the next process would begin with the same picture. So each picture is noted in Redis
before it is read, and the note outlives a killed process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.read import read_picture
from engines.pictures.rules import AS_STORED, PictureRules
from pipeline.errors import ConnectionLost, RedisFull
from pipeline.streams.connection import RedisConnection
from pipeline.streams.frame_producer import FrameProducer

MOST_DEATHS = 2  # at one picture; the process after that passes it over
Note = Callable[[str, int], None]


class PictureGuard:
    """Reads the pictures of a source, and passes over one at which the process died before."""

    def __init__(self, rules: PictureRules = AS_STORED) -> None:
        self.rules = rules  # what a person allows or states of the files
        self._place, self._deaths = "", 0
        self._note: Note | None = None

    def begin(self, place: str, deaths: int, note: Note) -> None:
        """Note what the previous process was reading when it died.

        Args:
            place: where in the source it was; empty if it ended in order.
            deaths: how many processes before it had died there.
            note: keeps a place and its deaths for the process after this one.
        """
        self._place, self._deaths, self._note = place, deaths + bool(place), note

    def read(self, path: Path, place: str) -> NDArray[np.uint8]:
        """Read a picture file into uint8 [H, W, 3] RGB.

        Args:
            path: the file.
            place: names it in the source; the same after a restart.

        Raises:
            PictureError: as `read_picture`, or the process died here too often.
        """
        self.approach(path, place)
        return read_picture(path, self.rules)

    def approach(self, path: Path, place: str) -> None:
        """Note that a picture is about to be read.

        Raises:
            PictureError: the process died here too often.
        """
        deaths = self._deaths if place == self._place else 0
        if deaths >= MOST_DEATHS:
            raise PictureError(
                f"{path}: the camera process ended {deaths} times while it read this picture: "
                "look at the file, and at the memory that the process may take"
            )
        if self._note is not None:
            self._note(place, deaths)


@contextmanager
def guarded(
    guard: PictureGuard,
    producer: FrameProducer,
    connection: RedisConnection,
    stopped: Callable[[], bool],
) -> Iterator[None]:
    """Keep the guard's notes in Redis while the context lasts; an end in order removes them."""

    def note(place: str, deaths: int) -> None:
        with suppress(ConnectionLost, RedisFull):  # the camera is told to stop
            connection.retry(lambda: producer.note_reading(place, deaths), stopped)

    guard.begin(*connection.retry(producer.reading, stopped), note)
    try:
        yield
    finally:
        with suppress(ConnectionLost, RedisFull):
            producer.forget_reading()
