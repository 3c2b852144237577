"""Pictures of a folder, once or again and again. A cursor is `PASS/RELATIVE-NAME`."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.files import is_foreign
from engines.pictures.read import PICTURE_SUFFIXES
from pipeline.camera.pace import FramePacer
from pipeline.camera.picture_guard import PictureGuard
from pipeline.camera.source import PartNames, Shot, unreadable_shot
from pipeline.errors import CameraLost, SettingsError

_NaturalKey = tuple[list[tuple[int, str]], str]


def natural_key(name: str) -> _NaturalKey:
    """Order names as people do: `part 2` before `part 10`."""
    pieces = re.split(r"([0-9]+)", name)  # text and digits in turn
    return [(int(piece), "") if at % 2 else (-1, piece) for at, piece in enumerate(pieces)], name


def is_picture_name(name: str) -> bool:
    """Return whether a file of this name is meant as a picture; hidden ones are half written."""
    suffix = os.path.splitext(name)[1]  # noqa: PTH122  # a folder may hold very many
    return not is_foreign(name) and suffix.lower() in PICTURE_SUFFIXES


def walk_folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `folder` that no other program keeps, with its files."""
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_foreign(name)]
        yield where, files


def list_pictures(folder: Path) -> list[str]:
    """List the relative names of the pictures in and below `folder`, in natural order."""
    names = [
        (Path(where) / name).relative_to(folder).as_posix()
        for where, files in walk_folders(folder)
        for name in files
        if is_picture_name(name)
    ]
    return sorted(names, key=natural_key)


def existing_folder(folder: Path) -> Path:
    """Return the folder of a source.

    Raises:
        SettingsError: there is none.
    """
    if not folder.is_dir():
        raise SettingsError(f"no folder {folder}")
    return folder


def check_present(folder: Path, cause: Exception | None = None) -> None:
    """Check that the folder of a source is still there.

    Raises:
        CameraLost: it is gone, as with its share; from `cause`.
    """
    if not folder.is_dir():
        raise CameraLost(f"folder {folder} is gone") from cause


class FolderSource:
    """The pictures of a folder in natural order, `passes` times."""

    live = False

    def __init__(
        self,
        folder: Path,
        pacer: FramePacer,
        clock_ns: Callable[[], int],
        passes: int | None = 1,
        part_names: PartNames | None = None,
        guard: PictureGuard | None = None,
    ) -> None:
        """Take a folder.

        Args:
            folder: searched with its subfolders, anew for each pass.
            pacer: when the next shot is due.
            clock_ns: UTC; a shot is captured when it is due, whatever the file's date.
            passes: None: without end.
            part_names: finds the part id in the relative name.
            guard: reads the pictures.

        Raises:
            SettingsError: no such folder.
        """
        self._folder = existing_folder(folder)
        self._pacer = pacer
        self._clock_ns = clock_ns
        self._passes = passes
        self._part_names = part_names or PartNames(None)
        self._guard = guard or PictureGuard()

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Yield every picture after `cursor`; a file that is not a picture is an unreadable shot.

        Raises:
            SettingsError: no pictures in the folder, or the cursor is not of a folder.
            CameraLost: the folder is gone.
        """
        number, after = _parse_cursor(cursor)
        while self._passes is None or number < self._passes:
            names = list_pictures(self._folder)
            self._check(names)
            for name in names:
                if after and natural_key(name) <= natural_key(after):
                    continue
                if self._pacer.stopped():
                    return
                yield self._shot(name, f"{number}/{name}")
            number, after = number + 1, ""

    def _check(self, names: list[str]) -> None:
        check_present(self._folder)
        if not names:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            raise SettingsError(f"no pictures ({kinds}) in {self._folder}")

    def _shot(self, name: str, cursor: str) -> Shot:
        captured_ns, captured_s = self._clock_ns(), time.monotonic()
        part_id = self._part_names.find(name)
        try:
            pixels = self._guard.read(self._folder / name, cursor)
        except PictureError as error:
            check_present(self._folder, error)
            return unreadable_shot(str(error), captured_ns, part_id, cursor, captured_s=captured_s)
        return Shot(pixels, captured_ns, part_id, cursor, captured_s=captured_s)

    def close(self) -> None:
        """Nothing is held."""


def _parse_cursor(cursor: str) -> tuple[int, str]:
    """Return (pass, name after which to go on)."""
    if not cursor:
        return 0, ""
    number, slash, name = cursor.partition("/")
    if not slash or not number.isdecimal():
        raise SettingsError(f"cursor {cursor!r:.80} is not of a folder: give the camera a new name")
    return int(number), name
