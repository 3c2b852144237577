"""Views joined into parts, on real servers."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rigs.line import SOON_NS, Plant

from pipeline.commands.reconcile_station import reconcile_station
from pipeline.consumer import Consumer
from pipeline.errors import SettingsError
from pipeline.frames import Decision, Reason, Verdict
from pipeline.station.joiner import Joiner, view_result
from pipeline.station.proof import StationReport
from pipeline.streams.connect import Access, Client
from pipeline.streams.connection import open_connection
from pipeline.streams.result_reader import read_result
from pipeline.streams.station.books import StationBooks, StationPlan
from pipeline.telemetry import StationTelemetry
from pipeline.verdicts import read_verdict

WAIT_S = 20.0


class Station:
    """A station with two views, joined by hand, step by step."""

    def __init__(self, client: Client, line: str, deadline_ms: int | None = None) -> None:
        self.client = client
        self.left, self.right = Plant(client, f"{line}-left"), Plant(client, f"{line}-right")
        views = (self.left.name, self.right.name)
        self.plan = StationPlan(f"{line}-station", views, deadline_ms=deadline_ms)
        self.books = StationBooks(client, self.plan)
        self.positions = self.books.open(from_start=True)

    def join(self, plant: Plant) -> list[str]:
        found = self.books.read(plant.name, self.positions[plant.name], 100, 1)
        if not found:
            return []
        self.positions[plant.name] = found[-1].result_id
        return self.books.join([view_result(self.plan, plant.name, result) for result in found])

    def verdicts(self) -> list[Verdict]:
        raws = self.client.xrange(f"{{{self.plan.station}}}:results")
        return [read_verdict(self.plan.station, read_result(raw)) for raw in raws]


@pytest.fixture
def station(client: Client, line: str) -> Station:
    return Station(client, line)


def decided(station: Station) -> list[tuple[int, Decision, Reason | None]]:
    return [(one.meta.seq, one.decision, one.reason) for one in station.verdicts()]


def test_ok_when_all_views_are_ok(station: Station) -> None:
    for plant in (station.left, station.right):
        plant.offer(7)
        plant.judge()
    assert station.join(station.left) == ["joined"]
    assert station.verdicts() == []
    assert station.join(station.right) == ["OK"]
    [verdict] = station.verdicts()
    assert (verdict.decision, verdict.unread) == (Decision.OK, "")
    assert (verdict.meta.camera, verdict.meta.seq) == (station.plan.station, 7)
    assert verdict.meta.part_id == "part-7"
    assert [view.view for view in verdict.views] == list(station.plan.views)
    assert {view.decision for view in verdict.views} == {Decision.OK}


def test_ng_as_soon_as_one_view_is(station: Station) -> None:
    station.left.offer(1)
    station.left.judge(Decision.NG)
    assert station.join(station.left) == ["NG"]
    station.right.offer(1)
    station.right.judge()
    assert station.join(station.right) == ["after"]
    [verdict] = station.verdicts()
    assert verdict.judgement is not None
    assert verdict.judgement.regions[0].area_px == 9


def test_unknown_view_makes_the_part_unknown_unless_another_is_ng(station: Station) -> None:
    station.left.offer(1, 2)
    station.left.judge(Reason.ENGINE)
    station.right.offer(1, 2)
    station.right.judge(Decision.OK, count=1)
    station.right.judge(Decision.NG, count=1)
    assert station.join(station.left) == ["joined", "joined"]
    assert station.join(station.right) == ["ENGINE", "NG"]
    assert decided(station) == [
        (1, Decision.UNKNOWN, Reason.ENGINE),
        (2, Decision.NG, None),
    ]


def test_missing_view_is_unknown_at_the_deadline(client: Client, line: str) -> None:
    station = Station(client, line, deadline_ms=1)
    station.left.offer(1)
    station.left.judge()
    assert station.join(station.left) == ["joined"]
    while not station.books.expire().expired:
        time.sleep(0.001)
    assert decided(station) == [(1, Decision.UNKNOWN, Reason.MISSING_VIEW)]
    [verdict] = station.verdicts()
    assert verdict.answer == "LATE"  # a word that programs of the first release know
    assert [view.view for view in verdict.views] == [station.left.name]


def test_what_was_joined_is_not_joined_again(station: Station) -> None:
    station.left.offer(1, 2)
    station.left.judge(Decision.NG)
    start = dict(station.positions)
    assert station.join(station.left) == ["NG", "NG"]
    station.positions = start
    assert station.join(station.left) == ["again", "again"]
    assert len(station.verdicts()) == 2


def test_same_trigger_outside_the_window_is_a_new_part(client: Client, line: str) -> None:
    station = Station(client, line)
    station.left.offer(1)
    station.left.judge()
    [first] = station.books.read(station.left.name, "0", 1, 1)
    view = view_result(station.plan, station.left.name, first)
    assert station.books.join([view]) == ["joined"]
    later = replace(
        view,
        result_id=f"{int(first.result_id.split('-')[0]) + 60_000}-0",
        captured_ms=view.captured_ms + 60_000,
        answer="NG",
    )
    assert station.books.join([later]) == ["NG"]
    assert client.zcard(f"{{{station.plan.station}}}:open") == 1


def test_repeated_view_counts_with_its_worse_answer(station: Station) -> None:
    plant = station.left
    plant.offer(1)
    plant.judge()
    other = Plant(plant.client, plant.name)
    other.offer(1, camera="second")
    other.judge(Decision.NG)
    assert station.join(plant) == ["joined", "NG"]
    assert decided(station) == [(1, Decision.NG, None)]


def test_another_plan_is_refused(station: Station) -> None:
    other = StationPlan(station.plan.station, (station.left.name,))
    with pytest.raises(SettingsError, match="joined by another plan"):
        StationBooks(station.client, other).open(from_start=True)
    StationBooks(station.client, other).open(from_start=True, redefine=True)
    station.left.offer(1)
    station.left.judge()
    with pytest.raises(SettingsError, match="joined by another plan"):
        station.join(station.left)


@contextmanager
def joining(url: str, plan: StationPlan) -> Iterator[Joiner]:
    with open_connection(Access(url), Path("/nonexistent")) as connection:
        joiner = Joiner(connection, plan, "joiner", StationTelemetry(plan.station))
        thread = threading.Thread(target=lambda: joiner.run(from_start=True))
        thread.start()
        try:
            yield joiner
        finally:
            joiner.stop()
            thread.join()


def test_two_joiners_and_a_program(url: str, client: Client, line: str) -> None:
    left, right = Plant(client, f"{line}-left"), Plant(client, f"{line}-right")
    plan = StationPlan(f"{line}-station", (left.name, right.name))
    with joining(url, plan), joining(url, plan):
        for plant in (left, right):
            plant.offer(*range(1, 51), in_ns=SOON_NS)
            plant.judge()
        with Consumer(plan.station, "plc", redis_url=url, from_start=True) as verdicts:
            found = [verdicts.next(WAIT_S) for _ in range(50)]
    assert sorted(one.meta.seq for one in found if one) == list(range(1, 51))
    assert client.xlen(f"{{{plan.station}}}:results") == 50


def proof(station: Station) -> StationReport:
    report = reconcile_station(station.client, station.plan.station)
    assert report is not None
    return report


def test_proof_holds_while_parts_wait_and_after(station: Station) -> None:
    station.left.offer(1, 2, 3)
    station.left.judge(Decision.NG, count=1)
    station.left.judge()
    station.join(station.left)
    report = proof(station)
    assert (report.opened, report.published, report.open, report.checked) == (3, 1, 2, 3)
    assert report.broken() == []
    station.right.offer(1, 2, 3)
    station.right.judge()
    station.join(station.right)
    report = proof(station)
    assert (report.opened, report.published, report.open, report.checked) == (3, 3, 0, 6)
    assert report.unjoined["after"] == 1
    assert report.broken() == []


def test_proof_names_a_forged_and_a_lost_verdict(station: Station) -> None:
    for plant in (station.left, station.right):
        plant.offer(1, 2)
        plant.judge()
        station.join(plant)
    results = f"{{{station.plan.station}}}:results"
    [first, second] = station.client.xrange(results)
    station.client.xdel(results, first[0])
    station.client.xadd(results, {**second[1], b"k": b"NG"})
    broken = " ".join(proof(station).broken())
    assert "3 verdicts in the stream, but 2 published" in broken
    assert "1 parts have more than one verdict" in broken
    assert "1 verdicts do not follow from what the views said" in broken
    assert "2 frames of views were joined into two parts" in broken
    assert "verdicts were deleted from the stream" in broken


def test_proof_names_a_view_that_is_in_no_part(station: Station) -> None:
    for plant in (station.left, station.right):
        plant.offer(1)
        plant.judge()
        station.join(plant)
    station.left.offer(2)
    station.left.judge()
    station.join(station.left)
    views = f"{{{station.plan.station}}}:views"
    station.client.hdel(views, f"t2#2/{station.left.name}")
    assert "1 frames of views were joined, but are in no part" in " ".join(proof(station).broken())


def test_proof_names_views_dropped_unread(station: Station) -> None:
    station.left.offer(1, 2, 3)
    station.left.judge(count=1)
    station.join(station.left)
    station.left.judge()
    kept = station.client.xrevrange(f"{{{station.left.name}}}:results", count=1)
    station.client.xtrim(f"{{{station.left.name}}}:results", minid=kept[0][0], approximate=False)
    station.join(station.left)
    assert "1 verdicts of views were dropped" in " ".join(proof(station).broken())


def test_station_whose_redis_went_back_is_not_called_sound(
    station: Station, url: str, tmp_path: Path
) -> None:
    for plant in (station.left, station.right):
        plant.offer(0, 1)
        plant.judge()
    books = Plant(station.client, station.plan.station)
    command = [sys.executable, "-c", "from pipeline.cli import reconcile; reconcile()"]
    command += ["--line", books.name, "--redis-url", url, "--books", str(tmp_path / "books.json")]
    for view in (station.left, station.right):
        station.join(view)
    state = books.saved_state()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    books.go_back(state)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pipeline-reconcile noticed that Redis went back" in done.stdout
    assert "every promise was kept" not in done.stdout
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["kept_promises"] is False
