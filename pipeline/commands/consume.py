"""`pipeline-consume`: the verdicts of a line as JSON lines, and overlays of the bad ones."""

import json
import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from engines.commandline.flags import File, Folder, Metavar, Name
from pipeline.consumer import Verdicts
from pipeline.errors import SettingsError
from pipeline.frames import Decision, Verdict
from pipeline.logs import library_lines, start_logs
from pipeline.settings import WatchingSettings
from pipeline.signals import stopped_by_signals
from pipeline.streams.keys import check_name
from pipeline.verdicts import verdict_fields

if TYPE_CHECKING:  # the base install cannot draw
    from pipeline.commands.overlay import OverlayFiles

OVERLAYS_FAILED_STATUS = 1
_LOOK_S = 0.5


class ConsumeSettings(WatchingSettings):
    """Print the verdicts of a line as JSON lines, from where this program left off."""

    program: Name = Field(
        default="consume", description="the reader's name; each one hears every verdict"
    )
    from_start: bool = Field(
        default=False,
        description="a program new to the line begins with the oldest verdict kept, "
        "not with the next new one",
    )
    count: int | None = Field(default=None, ge=1, description="end after so many verdicts")
    idle_s: float | None = Field(
        default=None, gt=0, description="end when no verdict came for so many seconds"
    )
    only: Annotated[str, Metavar("DECISION,...")] = Field(
        default="",
        description="print these only, as NG,UNKNOWN; --count counts what is printed",
    )
    mask: bool = Field(
        default=False, description="print the mask too, as run lengths row by row, zeros first"
    )
    overlay_dir: Folder | None = Field(
        default=None, description="write an overlay picture of every NG or UNKNOWN part here"
    )
    pictures: Folder | None = Field(
        default=None,
        description="folder with the parts' pictures, found by part id, to draw overlays on; "
        "without it they are drawn on grey",
    )

    zones: File | None = Field(
        default=None, description="with --overlay-dir: draw the zones of this zones.json"
    )
    zones_product: Annotated[str, Metavar("NAME")] = Field(
        default="", max_length=64, description="with --zones: the product whose zones count"
    )

    @field_validator("program")
    @classmethod
    def _check_program(cls, program: str) -> str:
        try:
            return check_name(program)
        except SettingsError as error:
            raise ValueError(str(error)) from error

    @field_validator("only")
    @classmethod
    def _check_only(cls, only: str) -> str:
        if unknown := {word for word in only.split(",") if word} - set(Decision):
            known = ", ".join(Decision)
            raise ValueError(f"no decision: {', '.join(sorted(unknown))}; known are {known}")
        return only

    @field_validator("pictures")
    @classmethod
    def _check_pictures(cls, pictures: Path | None) -> Path | None:
        if pictures is not None and not pictures.is_dir():
            raise ValueError(f"no folder {pictures}")
        return pictures

    def decisions(self) -> frozenset[Decision]:
        """What is printed."""
        words = [word for word in self.only.split(",") if word]
        return frozenset(map(Decision, words or Decision))


class LineOutput:
    """Writes lines whole to a file descriptor, or raises.

    Python's own standard output drops the rest of a line that the kernel takes in part only, where
    it is unbuffered (PYTHONUNBUFFERED).
    """

    def __init__(self, descriptor: int) -> None:
        """Borrow an open file, pipe or terminal."""
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write a line and its end.

        Raises:
            OSError: not all of it could be written, as on a full disk. Of a file the part written
                is taken back, so that the line can be written again.
        """
        rest = memoryview(line + b"\n")
        written = 0
        try:
            while written < len(rest):
                written += os.write(self._descriptor, rest[written:])
        except OSError:
            if written and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self._take_back(written)
            raise

    def _take_back(self, written: int) -> None:
        with suppress(OSError):
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if end == os.fstat(self._descriptor).st_size:  # else somebody else writes to it, too
                os.ftruncate(self._descriptor, end - written)
                os.lseek(self._descriptor, end - written, os.SEEK_SET)


def run(settings: ConsumeSettings) -> int:
    """Print verdicts until told to stop; 1 where an overlay could not be written."""
    start_logs(settings.log_level, settings.log_format)
    overlays = _overlays(settings)
    with library_lines(settings.log_format), settings.connect() as connection:
        verdicts = Verdicts(
            connection,
            settings.line,
            settings.program,
            from_start=settings.from_start,
            books=settings.books,
        )
        try:
            with stopped_by_signals(verdicts.stop):
                _print_all(settings, verdicts, LineOutput(sys.stdout.fileno()), overlays)
        except BrokenPipeError:
            pass  # who read us has had enough
        finally:
            verdicts.close()
        verdicts.check()
    if overlays is not None and overlays.failed:
        sys.stderr.write(
            f"pipeline-consume: {overlays.failed} overlay pictures could not be written to "
            f"{settings.overlay_dir}: make room there or choose another folder\n"
        )
        return OVERLAYS_FAILED_STATUS
    return 0


def _overlays(settings: ConsumeSettings) -> "OverlayFiles | None":
    if settings.overlay_dir is None:
        return None
    from pipeline.commands.overlay import OverlayFiles, PictureFinder  # noqa: PLC0415

    pictures = PictureFinder(settings.pictures) if settings.pictures else None
    zones = None
    if settings.zones is not None:
        from engines.zones.read import read_zones  # noqa: PLC0415  # only with --zones

        zones = read_zones(settings.zones, settings.zones_product)
    return OverlayFiles(settings.overlay_dir, pictures, zones)


def _print_all(
    settings: ConsumeSettings,
    verdicts: Verdicts,
    output: LineOutput,
    overlays: "OverlayFiles | None",
) -> None:
    """Print and acknowledge, one by one: what was not printed comes again next time."""
    printed, heard_s = 0, time.monotonic()
    wanted = settings.decisions()
    while not verdicts.stopped and printed != settings.count:
        verdict = verdicts.next(min(settings.idle_s or _LOOK_S, _LOOK_S))
        if verdict is None:
            if settings.idle_s is not None and time.monotonic() - heard_s >= settings.idle_s:
                return
            continue
        heard_s = time.monotonic()
        if verdict.decision in wanted:
            _print(verdict, output, with_mask=settings.mask)
            printed += 1
        if overlays is not None and verdict.decision is not Decision.OK:
            overlays.write(verdict)
        verdicts.acknowledge(verdict)


def _print(verdict: Verdict, output: LineOutput, *, with_mask: bool) -> None:
    output.write(json.dumps(verdict_fields(verdict, with_mask=with_mask)).encode())
