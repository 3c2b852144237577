"""The part of `pipeline-reconcile` that proves a station."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from engines.commandline.terminal import headed
from pipeline.station.proof import CollectedParts, StationReport, prove_station
from pipeline.streams.connect import Client
from pipeline.streams.ledger import Ledger
from pipeline.streams.result_reader import Result
from pipeline.streams.station.books import read_station

_PAGE = 2000
_LISTED = 20
_LISTS = ("repeated", "wrong", "unmarked", "twice", "lost")


def reconcile_station(client: Client, station: str) -> StationReport | None:
    """Prove a station, which may be running; None where no joiner ever joined it."""
    before = read_station(client, station)
    if not before.plan:
        return None
    view_results = {view: _kept(client, view) for view in before.positions}
    collected = CollectedParts(tuple(before.plan.rpartition(" ")[2].split(",")))
    for result in _kept(client, station):
        collected.add(result)
    return prove_station(before, view_results, collected, read_station(client, station))


def _kept(client: Client, line: str) -> list[Result]:
    ledger, results, after = Ledger(client, line), [], "-"
    while page := ledger.results(after, _PAGE):
        results += [_light(result) for result in page]
        after = page[-1].result_id
    return results


def _light(result: Result) -> Result:
    """Return a verdict without its judgement, of which many do not fit into memory."""
    return Result(
        result_id=result.result_id,
        answer=result.answer,
        entry_id=result.entry_id,
        header=b"",
        judgement=None,
        reason=result.reason,
        published_ms=result.published_ms,
        due_ms=result.due_ms,
        views=result.views,
    )


def station_fields(station: str, report: StationReport) -> dict[str, Any]:
    """Return the report as one JSON object; long lists are cut, their counts are whole."""
    fields = asdict(report)
    for name in _LISTS:
        listed = getattr(report, name)
        fields[name] = {"count": len(listed), "first": list(listed[:_LISTED])}
    broken = report.broken()
    return {"station": station, "kept_promises": not broken, "broken": broken, **fields}


def print_station(
    console: Console, station: str, report: StationReport, *, went_back: bool = False
) -> None:
    """Print the report for people; no praise where Redis went back to an earlier state."""
    table = Table(title=f"{station}: one verdict for every part", title_justify="left")
    rows = {
        "views": ", ".join(report.views),
        "parts seen": f"{report.opened} = {report.published} decided + {report.open} open",
        "verdicts kept": ", ".join(f"{word} {n}" for word, n in sorted(report.answers.items())),
        "verdicts of views checked": str(report.checked),
        "of these after their part was decided": str(report.unjoined.get("after", 0)),
        "views that came twice": str(report.unjoined.get("repeated", 0)),
    }
    table.add_column()
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    table.show_header = False
    console.print(table)
    broken = report.broken()
    for sentence in broken:
        console.print(headed("broken:", sentence, "bold red"))
    for name in _LISTS:
        if listed := getattr(report, name):
            console.print(f"  {name}: {', '.join(map(str, listed[:_LISTED]))}")
    if not broken and not went_back:
        console.print("every promise was kept", style="bold green")
