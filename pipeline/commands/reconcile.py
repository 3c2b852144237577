"""`pipeline-reconcile`: the proof, from a line's books, that every part got one verdict."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import Field
from rich.console import Console
from rich.table import Table

from engines.commandline.flags import File, Name
from engines.commandline.terminal import Terminal, headed
from pipeline.commands.proof import (
    CameraReport,
    CollectedVerdicts,
    OpenFrames,
    Report,
    Run,
    Span,
    entry_ms,
    prove,
    read_identity,
)
from pipeline.commands.reconcile_station import (
    print_station,
    reconcile_station,
    station_fields,
)
from pipeline.errors import SettingsError
from pipeline.logs import start_logs
from pipeline.settings import LineSettings
from pipeline.station.proof import StationReport
from pipeline.streams.ledger import Ledger, LedgerSnapshot
from pipeline.streams.result_reader import Result
from pipeline.streams.rollback.marks import RollbackRecord
from pipeline.streams.rollback.watch import RollbackWatch

PAGE = 2000
LISTED = 20
BROKEN_STATUS = 1


class ReconcileSettings(LineSettings):
    """Prove that every part of a line got exactly one verdict; exit status 1 where it did not."""

    camera: Name | None = Field(default=None, description="this camera's frames only")
    from_seq: int = Field(default=0, ge=0, description="first trigger number to check")
    to_seq: int | None = Field(default=None, ge=0, description="last trigger number to check")
    books: File | None = Field(
        default=None,
        description="remember in this file how far the line had come, and say if Redis is behind "
        "it at the next call",
    )
    as_json: bool = Field(default=False, description="print one JSON object")


class LedgerReader(Protocol):
    """What a ledger can tell; `streams.ledger.Ledger` is one."""

    def snapshot(self) -> LedgerSnapshot:
        """All books at one moment."""
        ...

    def results(self, after: str, count: int) -> list[Result]:
        """The next verdicts after a result id."""
        ...

    def open_headers(self) -> dict[str, bytes]:
        """The heads of all frames not yet answered, by entry id."""
        ...


def reconcile(ledger: LedgerReader, span: Span | None = None) -> Report:
    """Find the frames of a span without a verdict or with several; the line may be running.

    The order of reading matters: a frame in the first books that is neither among the verdicts nor
    open must be answered by a verdict read after the open ones.
    """
    before = ledger.snapshot()
    collected = CollectedVerdicts(span or Span())
    last = _read_results(ledger, "-", collected)
    open_frames = _read_open(ledger)
    _read_results(ledger, last, collected)
    return prove(before, collected, open_frames, ledger.snapshot())


def _read_results(ledger: LedgerReader, after: str, collected: CollectedVerdicts) -> str:
    while page := ledger.results(after, PAGE):
        for result in page:
            collected.add(result)
        after = page[-1].result_id
    return after


def _read_open(ledger: LedgerReader) -> OpenFrames:
    frames: dict[tuple[str, int], int] = {}
    nameless: list[int] = []
    for entry_id, head in ledger.open_headers().items():
        if (identity := read_identity(head)) is None:
            nameless.append(entry_ms(entry_id))
        else:
            frames[identity.camera, identity.seq] = entry_ms(entry_id)
    return OpenFrames(frames, nameless)


def report_fields(line: str, report: Report) -> dict[str, Any]:
    """Return the report as one JSON object; long lists are cut, their counts are whole."""
    fields = asdict(report)
    for name in ("missing", "repeated", "unoffered", "unmarked"):
        frames = getattr(report, name)
        fields[name] = {"count": len(frames), "first": [list(frame) for frame in frames[:LISTED]]}
    broken = report.broken()
    return {"line": line, "kept_promises": not broken, "broken": broken, **fields}


def print_report(console: Console, line: str, report: Report) -> None:
    """Print the report for people."""
    table = Table(title=f"{line}: one verdict for every part", title_justify="left")
    for heading in ("camera", "offered", "checked, seq", "answered", "open", "lost"):
        table.add_column(heading, justify="left" if heading == "camera" else "right")
    for camera in report.cameras:
        table.add_row(
            camera.camera,
            str(camera.offered),
            f"{camera.checked}, {_run(camera.proven)}" if camera.proven else "none",
            str(camera.answered),
            str(camera.open),
            str(camera.lost),
        )
    console.print(table)
    answers = ", ".join(f"{answer} {count}" for answer, count in sorted(report.answers.items()))
    console.print(f"verdicts kept: {answers or 'none'}")
    console.print(
        f"since the line began: {report.offered} offered = "
        f"{report.published} answered + {report.open} open"
    )
    _print_notes(console, report)
    _print_broken(console, report)


def _run(run: Run) -> str:
    return f"{run[0]}..{run[1]}"


def _print_notes(console: Console, report: Report) -> None:
    trimmed = report.added - report.kept
    if trimmed > 0 and not report.deleted:
        console.print(
            f"{trimmed} older verdicts are no longer kept: of their frames only the sum is proven"
        )
    if report.stepped:
        console.print(
            "[yellow]Redis's clock was stepped back[/] while these verdicts were published: once "
            "some are no longer kept, only the sum is proven"
        )
    for camera in report.cameras:
        _print_gaps(console, camera)
    if report.nameless:
        console.print(
            f"{report.nameless} verdicts name no frame (damaged head): "
            f"{len(report.missing)} frames can only be theirs"
        )


def _print_gaps(console: Console, camera: CameraReport) -> None:
    if not camera.lost:
        return
    shown = ", ".join(map(_run, camera.gaps[:LISTED]))
    more = f" and {len(camera.gaps) - LISTED} more" if len(camera.gaps) > LISTED else ""
    console.print(
        headed(
            f"{camera.camera} was triggered {camera.lost} times without a picture:",
            f"no verdict was due for seq {shown or '(outside what is checked)'}{more}",
            "yellow",
        )
    )


def _print_broken(console: Console, report: Report) -> None:
    broken = report.broken()
    for sentence in broken:
        console.print(headed("broken:", sentence, "bold red"))
    for name in ("missing", "repeated", "unoffered", "unmarked"):
        frames = getattr(report, name)
        if frames:
            shown = ", ".join(f"{camera}/{seq}" for camera, seq in frames[:LISTED])
            more = f" and {len(frames) - LISTED} more" if len(frames) > LISTED else ""
            console.print(f"  {name}: {shown}{more}")
    for camera, first, last in report.rolled_back[:LISTED]:
        where = f"{camera}/{first}..{last}"
        console.print(f"  rolled back: these sequence numbers may be lost: {where}")
    for first, last in report.unpublished[:LISTED]:
        console.print(f"  rolled back: these verdicts may be lost: number {first} to {last}")
    _print_rollbacks(console, report.rollbacks)
    if not broken:
        console.print("every promise was kept", style="bold green")


def run(settings: ReconcileSettings) -> int:
    """Reconcile a line and print what was found; 1 where a promise was broken."""
    start_logs(settings.log_level, settings.log_format)
    span = Span(settings.camera, settings.from_seq, settings.to_seq)
    with settings.connect() as connection:
        client = connection.client
        watch = None
        if settings.books is not None:
            watch = RollbackWatch(client, settings.line, "pipeline-reconcile", file=settings.books)
            watch.ask()  # first, for the proof to see what it marks
        if (parts := reconcile_station(client, settings.line)) is not None:
            rollbacks = Ledger(client, settings.line).snapshot().rollbacks
            return _show_station(settings, parts, rollbacks)
        report = reconcile(Ledger(client, settings.line), span)
        if watch is not None:
            watch.ask()
    if not report.offered and not report.damaged:
        raise SettingsError(f"line {settings.line!r} never saw a frame here: nothing was checked")
    if settings.as_json:
        sys.stdout.write(json.dumps(report_fields(settings.line, report)) + "\n")
    else:
        print_report(Terminal(), settings.line, report)
    return BROKEN_STATUS if report.broken() else 0


def _print_rollbacks(console: Console, rollbacks: tuple[RollbackRecord, ...]) -> None:
    for record in rollbacks[-LISTED:]:
        at = datetime.fromtimestamp(record.at_ms / 1e3, UTC).isoformat(timespec="seconds")
        console.print(f"  {at}: {record.by} noticed that Redis went back", markup=False)


def _show_station(
    settings: ReconcileSettings, report: StationReport, rollbacks: tuple[RollbackRecord, ...]
) -> int:
    went_back = f"Redis went back to an earlier state {len(rollbacks)} times: parts may be lost"
    if settings.as_json:
        fields = station_fields(settings.line, report)
        if rollbacks:
            fields |= {"kept_promises": False, "broken": [*fields["broken"], went_back]}
        fields["rollbacks"] = [asdict(record) for record in rollbacks]
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        console = Terminal()
        print_station(console, settings.line, report, went_back=bool(rollbacks))
        if rollbacks:
            console.print(headed("broken:", went_back, "bold red"))
            _print_rollbacks(console, rollbacks)
    return BROKEN_STATUS if report.broken() or rollbacks else 0
