"""`pipeline-label`: labels of frames, from people and from scripts, and what waits for one."""

import getpass
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self, TextIO

from pydantic import Field, ValidationError, model_validator
from rich.table import Table

from engines.commandline.flags import File, Folder, Metavar, Name
from engines.commandline.terminal import Terminal
from pipeline.archive import Archive
from pipeline.commands.label_requests import (
    MAX_LINE_CHARS,
    LabelRequest,
    LabelSender,
    SentLabel,
    read_request,
    sentence,
)
from pipeline.errors import ConnectionLost, LabelError, RedisFull, SettingsError
from pipeline.frames import LabelKind
from pipeline.labels.book import all_labels
from pipeline.logs import start_logs
from pipeline.progress import progress
from pipeline.settings import LineSettings
from pipeline.streams.labels import LabelStream

REFUSED_STATUS = 1
SEND_WAIT_S = 30.0  # for a Redis that restarts
_EDGES = 4  # of a box
_SHOWN = (
    "entry_id",
    "camera",
    "seq",
    "part_id",
    "decision",
    "reason",
    "score",
    "normalised",
    "threshold",
    "regions",
    "captured_ns",
)


class LabellingSettings(LineSettings):
    """Label what frames truly showed, so that the next training learns from it."""

    entry: Annotated[str, Metavar("ID")] = Field(
        default="", description="the frame, by a verdict's entry_id"
    )
    part: Annotated[str, Metavar("ID")] = Field(default="", description="the frame, by its part id")
    camera: Name = Field(default="", description="the frame, by its camera and --seq")
    seq: int | None = Field(default=None, ge=0, description="its number at that camera")
    as_kind: LabelKind | None = Field(default=None, description="what it truly is")
    defect: Annotated[str, Metavar("KIND")] = Field(
        default="", description="kind of the defect: scratch, hole, ..."
    )
    predicted: bool = Field(default=False, description="the verdict's own mask is right")
    mask: File | None = Field(
        default=None, description="picture of the size of the archived one, white on the defect"
    )
    box: list[Annotated[float, Metavar("TOP,LEFT,HEIGHT,WIDTH")]] = Field(
        default=[], description="rough place of the defect, pixels; may be given again"
    )
    polygon: Annotated[str, Metavar('"Y,X Y,X Y,X"')] = Field(
        default="", description="the same with corners; ';' before the next one"
    )
    by: Name = Field(default="", description="who says so; default: the user")
    from_file: File | None = Field(
        default=None,
        description="many labels: a JSON object a line with the fields entry, part, camera, seq, "
        "as, defect, predicted, mask, box, polygon, by; - reads stdin",
    )
    list_frames: bool = Field(
        default=False, description="show the archived frames that wait for a label, newest first"
    )
    count: int = Field(default=20, ge=1, description="with --list: so many at most")
    archive: Folder | None = Field(
        default=None, description="the workers' --archive: checks labels and keeps their frames"
    )
    as_json: bool = Field(default=False, description="print a JSON object for each label or frame")

    @model_validator(mode="after")
    def _check_wish(self) -> Self:
        if (self.as_kind is not None) + (self.from_file is not None) + self.list_frames != 1:
            raise ValueError("say one of --as, --from and --list")
        if self.list_frames and self.archive is None:
            raise ValueError("--list needs --archive")
        if self.as_kind is not None:
            self.request()
        return self

    def request(self) -> LabelRequest:
        """The one label that the flags ask for.

        Raises:
            ValueError: they name no frame, or no place.
        """
        try:
            return LabelRequest.model_validate(
                {
                    "entry": self.entry,
                    "part": self.part,
                    "camera": "" if self.seq is None else self.camera,
                    "seq": self.seq,
                    "as": self.as_kind,
                    "defect": self.defect,
                    "predicted": self.predicted,
                    "mask": self.mask,
                    "box": _boxes(self.box),
                    "polygon": _polygons(self.polygon),
                    "by": self.by,
                }
            )
        except ValidationError as error:
            raise ValueError("; ".join(map(sentence, error.errors()))) from error


def _boxes(edges: list[float]) -> list[list[float]]:
    if len(edges) % _EDGES:
        raise ValueError("--box is top,left,height,width")
    return [edges[at : at + _EDGES] for at in range(0, len(edges), _EDGES)]


def _polygons(text: str) -> list[list[list[str]]]:
    polygons = [one.split() for one in text.split(";") if one.strip()]
    corners = [[corner.split(",") for corner in polygon] for polygon in polygons]
    if not all(len(corner) == 2 for polygon in corners for corner in polygon):  # noqa: PLR2004
        raise ValueError('--polygon is corners in pixels, "Y,X Y,X Y,X"')
    return corners


def run(settings: LabellingSettings) -> int:
    """Label one frame or many, or list those that wait; 1 where a label was refused."""
    start_logs(settings.log_level, settings.log_format)
    archive = _archive(settings)
    with settings.connect() as connection:
        stream = LabelStream(connection.client, settings.line)
        if settings.list_frames and archive is not None:
            labelled = {label.entry_id for _, label in all_labels(stream)}
            print_waiting(archive, labelled, settings.count, as_json=settings.as_json)
            return 0
        if archive is None:
            _warn("without --archive nobody can check whether the frame is there and the mask fits")

        def patiently(action: Callable[[], str]) -> str:
            until_s = time.monotonic() + SEND_WAIT_S
            return connection.retry(action, lambda: time.monotonic() > until_s)

        sender = LabelSender(stream, archive, settings.by or _user(), patiently)
        if settings.from_file is None:
            _show(sender.label(settings.request()), settings)
            return 0
        with _opened(settings.from_file) as lines:
            return _label_all(lines, sender, settings)


def _archive(settings: LabellingSettings) -> Archive | None:
    if settings.archive is None:
        return None
    archive = Archive(settings.archive, settings.line)
    if not archive.folder.is_dir():
        raise SettingsError(
            f"no archive of {settings.line} in {settings.archive}: start pipeline-worker with "
            "--archive on it, or name the right --line"
        )
    return archive


def _label_all(lines: TextIO, sender: LabelSender, settings: LabellingSettings) -> int:
    """Label line by line; a bad line is said and does not stop the others."""
    sent = refused = number = 0
    with progress("labels", None, shown=sys.stderr.isatty() and lines is not sys.stdin) as done:
        try:
            for number, line in _numbered(lines):
                try:
                    _show(sender.label(read_request(line)), settings)
                    sent += 1
                except LabelError as error:
                    _warn(f"line {number}: {error}")
                    refused += 1
                done(1)
        except (ConnectionLost, RedisFull) as error:
            said = f"{error}: {sent} labels were sent, begin again at line {number}"
            raise type(error)(said) from error
    _warn(f"sent {sent}, refused {refused}")
    return REFUSED_STATUS if refused else 0


def _numbered(lines: TextIO) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, without the empty ones; of one without end a part only."""
    number = 0
    while line := lines.readline(MAX_LINE_CHARS + 1):
        number += 1
        rest = line
        while len(line) > MAX_LINE_CHARS and rest and not rest.endswith("\n"):
            rest = lines.readline(MAX_LINE_CHARS)
        if line.strip():
            yield number, line


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdin
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield lines


def _show(sent: SentLabel, settings: LabellingSettings) -> None:
    text = json.dumps(sent.fields(settings.line)) if settings.as_json else sent.sentence()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    if contradiction := sent.contradiction():
        _warn(contradiction)


def _warn(text: str) -> None:
    sys.stderr.write(f"pipeline-label: {text}\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name; Windows
        return ""


def print_waiting(archive: Archive, labelled: set[str], count: int, *, as_json: bool) -> None:
    """Print frames that have no label, newest first, `count` at most.

    Args:
        archive: of the line.
        labelled: entries of which a label is known.
        count: so many at most.
        as_json: a JSON object a frame, with the path of its picture.
    """
    waiting = [entry_id for entry_id in archive.entries() if entry_id not in labelled]
    shown = [
        {**{name: verdict.get(name) for name in _SHOWN}, "picture": str(archive.picture_path(one))}
        for one in waiting[: -count - 1 : -1]
        if (verdict := archive.verdict(one))
    ]
    if as_json:
        sys.stdout.writelines(json.dumps(frame) + "\n" for frame in shown)
        return
    console = Terminal()
    if shown:
        console.print(_table(shown))
    console.print(
        f"{len(shown)} of {len(waiting)} frames that wait for a label, in {archive.folder}"
    )


def _table(frames: list[dict[str, Any]]) -> Table:
    table = Table()
    for heading in (
        "entry",
        "part",
        "camera",
        "seq",
        "verdict",
        "score 0..1",
        "regions",
        "captured",
    ):
        table.add_column(heading, overflow="fold")
    for frame in frames:
        table.add_row(
            str(frame["entry_id"]),
            str(frame["part_id"]),
            str(frame["camera"]),
            str(frame["seq"]),
            f"{frame['decision']} {frame['reason'] or ''}".strip(),
            _real(frame["normalised"]),
            "-" if frame["regions"] is None else str(len(frame["regions"])),
            _moment(frame["captured_ns"]),
        )
    return table


def _real(number: object) -> str:
    return f"{number:.3f}" if isinstance(number, float) else "-"


def _moment(captured_ns: object) -> str:
    if not isinstance(captured_ns, int):
        return "-"
    return f"{datetime.fromtimestamp(captured_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}Z"
