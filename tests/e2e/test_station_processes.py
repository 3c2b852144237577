"""A station of real processes: two views, two joiners that are killed, one verdict per part."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.processes import WAIT_S, Plant, plan, plant_in

from pipeline.commands.reconcile_station import reconcile_station
from pipeline.commands.subprocesses import ChildProcess, wait_until
from pipeline.streams.ledger import Ledger

PARTS = 600
VIEWS = ("left", "right")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


def join(plant: Plant, name: str) -> ChildProcess:
    flags = ("--line", "station", "--views", ",".join(VIEWS), "--from-start")
    return plant.processes.start(name, "pipeline-join", *flags)


def test_joiners_are_killed_and_every_part_has_one_verdict(plant: Plant) -> None:
    for view in VIEWS:
        plant.worker(plan(), "--line", view, name=f"worker-{view}")
    joiners = [join(plant, "join-0"), join(plant, "join-1")]
    for view in VIEWS:
        plant.camera("--line", view, "--count", str(PARTS), "--rate", "100", name=f"camera-{view}")
    station = Ledger(plant.connection.client, "station")
    numbers = itertools.count(2)
    for share in (0.1, 0.3, 0.5, 0.7):
        wait_until(
            lambda share=share: len(station.results("-", 10_000)) >= share * PARTS,
            WAIT_S,
            f"{share:.0%} of the parts",
        )
        number = next(numbers)
        joiners[number % 2].kill()
        joiners[number % 2] = join(plant, f"join-{number}")
    wait_until(
        lambda: len(station.results("-", 10_000)) >= PARTS, WAIT_S, "a verdict for each part"
    )
    report = reconcile_station(plant.connection.client, "station")
    assert report is not None
    assert report.broken() == []
    assert (report.opened, report.published, report.checked) == (PARTS, PARTS, 2 * PARTS)
    for joiner in joiners:
        joiner.process.terminate()
        joiner.wait(WAIT_S)
        assert joiner.process.returncode == 0


def test_silent_view_is_missing_at_the_deadline(plant: Plant) -> None:
    plant.worker(plan(), "--line", "left")
    join(plant, "join")
    plant.camera("--line", "left", "--count", "20", "--rate", "50", "--deadline-ms", "2000")
    station = Ledger(plant.connection.client, "station")
    wait_until(lambda: len(station.results("-", 100)) == 20, WAIT_S, "20 verdicts")
    said = {(result.answer, result.reason) for result in station.results("-", 100)}
    assert ("LATE", "MISSING_VIEW") in said
    assert said <= {("LATE", "MISSING_VIEW"), ("NG", "")}
