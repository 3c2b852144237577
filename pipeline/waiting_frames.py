"""Archived frames that wait for a label, as a table or as JSON lines."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.archive import Archive

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
    console = Console(highlight=False)
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
