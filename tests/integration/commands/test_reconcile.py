import json
import os
import subprocess
import sys
import time

import pytest
from rigs.line import SOON_NS, Plant, head_of

from pipeline.commands.proof import Report, Span
from pipeline.commands.reconcile import reconcile, report_fields
from pipeline.errors import SettingsError
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.frame_consumer import Answer
from pipeline.streams.frame_producer import FrameProducer, OfferResult, Status
from pipeline.streams.keys import Keys, LineLimits

COMMAND = [sys.executable, "-c", "from pipeline.cli import reconcile; reconcile()"]


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


def prove(plant: Plant, span: Span | None = None) -> Report:
    return reconcile(plant.ledger(), span)


def run_lines(plant: Plant) -> None:
    """One camera with a gap, another one, some frames open."""
    plant.offer(1, 2, 3, 7, 8)
    plant.judge()
    plant.offer(1, 2, camera="other", in_ns=1_000_000)
    time.sleep(0.01)
    plant.judge(Decision.NG)
    plant.offer(9, 10)


def test_honest_line_keeps_every_promise(plant: Plant) -> None:
    run_lines(plant)
    report = prove(plant)
    assert report.broken() == []
    assert report.answers == {"OK": 5, "LATE": 2}
    assert (report.offered, report.published, report.open) == (9, 7, 2)
    cam, other = report.cameras
    assert (cam.offered, cam.checked, cam.answered, cam.open) == (7, 7, 5, 2)
    assert (cam.gaps, other.gaps) == (((4, 6),), ())
    assert (cam.lost, other.lost) == (3, 0)


def test_span_narrows_what_is_told_and_not_what_is_proven(plant: Plant) -> None:
    run_lines(plant)
    report = prove(plant, Span("cam", 2, 8))
    assert [(book.camera, book.proven) for book in report.cameras] == [("cam", (2, 8))]
    assert report.answers == {"OK": 4}
    assert report.offered == 9


def test_deleted_verdict_is_found(plant: Plant) -> None:
    for seq in (1, 2, 3):
        plant.offer(seq)
        plant.judge()
        time.sleep(0.003)
    ids = [result_id for result_id, _ in plant.client.xrange(Keys(plant.name).results)]
    plant.client.xdel(Keys(plant.name).results, ids[1])
    assert prove(plant).broken() == ["verdicts were deleted from the stream"]
    plant.offer(4, 5)
    plant.judge()
    plant.offer(6)
    plant.judge()
    ids = [result_id for result_id, _ in plant.client.xrange(Keys(plant.name).results)]
    plant.client.xdel(Keys(plant.name).results, ids[2], ids[-2])
    report = prove(plant)
    assert "2 frames have no verdict" in report.broken()
    assert report.missing == (("cam", 4), ("cam", 5))


def test_lost_frame_is_found(plant: Plant) -> None:
    plant.offer(1, 2)
    entry = plant.worker().read(1, 0)[0]
    plant.client.zrem(Keys(plant.name).open, entry.entry_id)
    report = prove(plant)
    assert report.missing == (("cam", 1),)
    assert report.broken() == [
        "1 frames have no verdict",
        "2 frames offered, but 0 answered and 1 open",
    ]


def test_second_verdict_is_found(plant: Plant) -> None:
    plant.offer(1)
    plant.judge()
    ((_, fields),) = plant.client.xrange(Keys(plant.name).results)
    plant.client.xadd(Keys(plant.name).results, fields)
    report = prove(plant)
    assert report.repeated == (("cam", 1),)
    assert len(report.broken()) == 2


def test_verdict_for_a_frame_never_offered_is_found(plant: Plant) -> None:
    plant.offer(1, 5)
    plant.judge()
    results = Keys(plant.name).results
    for camera, seq in (("cam", 3), ("cam", 6), ("nobody", 1)):
        head = head_of(camera, seq, time.time_ns() + 10**10)
        plant.client.xadd(results, {"k": "OK", "e": "1-1", "m": head})
    assert prove(plant).unoffered == (("cam", 3), ("cam", 6), ("nobody", 1))


def test_late_verdict_that_does_not_say_so_is_found(plant: Plant) -> None:
    plant.offer(1)
    plant.client.zadd(Keys(plant.name).open, {plant.worker().read(1, 0)[0].entry_id: 1e15})
    (result,) = plant.offer(2, in_ns=1_000_000)
    plant.client.zadd(Keys(plant.name).open, {result.entry_id: 1e15})
    time.sleep(0.01)
    assert plant.judge() == ["OK"]
    assert prove(plant).unmarked == (("cam", 2),)


def test_shed_frame_past_its_deadline_says_late(client: Client, line: str) -> None:
    plant = Plant(client, line, LineLimits(budget_bytes=150))
    plant.offer(1, in_ns=1_000_000)
    time.sleep(0.01)
    plant.offer(2, 3, shed=True)
    report = prove(plant)
    assert report.broken() == []
    assert report.answers == {"LATE": 1, "SHED": 1}


def test_trimmed_verdicts_are_never_called_missing(client: Client, line: str) -> None:
    plant = Plant(client, line, LineLimits(results_kept=100))
    for first in range(0, 1000, 50):
        plant.offer(*range(first, first + 50))
        plant.judge()
    report = prove(plant)
    assert report.broken() == []
    assert report.kept < report.added == report.published == 1000
    (book,) = report.cameras
    assert book.offered == 1000
    assert 0 < book.checked == book.answered <= report.kept


def test_frame_that_vanished_is_told_apart_from_a_lost_one(plant: Plant) -> None:
    (result,) = plant.offer(1, in_ns=1_000_000)
    plant.client.xdel(Keys(plant.name).frames, result.entry_id)
    time.sleep(0.01)
    plant.worker().expire()
    report = prove(plant)
    assert (report.nameless, report.missing) == (1, (("cam", 1),))
    assert report.broken() == []


def test_emptied_stream_of_verdicts_is_found(plant: Plant) -> None:
    plant.offer(1, 2)
    plant.judge()
    plant.client.delete(Keys(plant.name).results)
    assert prove(plant).broken() == [
        "0 verdicts in the stream, but 2 published through the register"
    ]


def test_report_is_json(plant: Plant) -> None:
    run_lines(plant)
    fields = json.loads(json.dumps(report_fields(plant.name, prove(plant))))
    assert fields["kept_promises"] is True
    assert fields["missing"] == {"count": 0, "first": []}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_command_exits_with_one_when_a_promise_is_broken(
    plant: Plant, url: str, flags: list[str]
) -> None:
    run_lines(plant)
    command = [*COMMAND, "--line", plant.name, "--redis-url", url, *flags]
    quiet = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert (done.returncode, done.stderr) == (0, "")
    assert flags or "cam was triggered 3 times without a picture: no verdict was due" in done.stdout
    plant.judge(Reason.ENGINE, count=1)
    entry = plant.worker().read(1, 0)[0]
    plant.client.zrem(Keys(plant.name).open, entry.entry_id)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 1
    assert "1 frames have no verdict" in done.stdout


def test_large_verdicts_are_bounded_by_their_bytes_too(client: Client, line: str) -> None:
    plant = Plant(client, line, LineLimits(results_bytes=4 << 20))
    worker = plant.worker()
    for seq in range(0, 2000, 100):
        plant.offer(*range(seq, seq + 100))
        said = [Answer(entry, Decision.OK, b"j" * 8000) for entry in worker.read(100, 0)]
        worker.answer(said)
    while worker.trim():
        pass
    assert client.memory_usage(Keys(line).results, samples=0) < 5 << 20
    report = reconcile(plant.ledger())
    assert report.broken() == []
    assert report.kept > 300
    assert report.cameras[0].proven is not None
    assert report.cameras[0].proven[1] == 1999


def offer_on(camera: FrameProducer, *seqs: int) -> list[OfferResult]:
    due = time.time_ns() + SOON_NS
    return [
        camera.offer(seq, head_of("cam", seq, due), b"x", 100, SOON_NS, "", shed=False)
        for seq in seqs
    ]


@pytest.mark.parametrize("known", [0, 10])
def test_frames_lost_by_a_server_that_went_back_are_told_from_lost_triggers(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture, known: int
) -> None:
    camera = plant.camera()
    offer_on(camera, *range(known))
    plant.judge()
    state = plant.saved_state()
    offer_on(camera, *range(known, 30))
    plant.judge()
    plant.go_back(state)
    results = offer_on(camera, 32, 33)  # and two triggers without a picture
    plant.judge()
    assert [result.rolled_back for result in results] == [30 - known, 0]
    (logged,) = [row.__dict__ for row in caplog.records if row.message == "books.rolled_back"]
    assert (logged["from_seq"], logged["to_seq"], logged["frames"]) == (known, 29, 30 - known)
    report = prove(plant)
    assert report.rolled_back == (("cam", known, 29),)
    (book,) = report.cameras
    assert (book.gaps, book.lost) == (((30, 31),) if known else (), 2)
    (sentence,) = report.broken()
    assert f"{30 - known} frames were admitted and then lost" in sentence
    command = [*COMMAND, "--line", plant.name, "--redis-url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"these sequence numbers may be lost: cam/{known}..29" in done.stdout
    assert "every promise was kept" not in done.stdout


def test_honest_camera_that_starts_again_is_not_accused(plant: Plant) -> None:
    for first in (0, 7):
        camera = plant.camera()
        camera.position()
        results = offer_on(camera, first, first + 1, first + 1, first + 4)
        assert [result.rolled_back for result in results] == [0] * 4
    plant.judge()
    report = prove(plant)
    assert report.broken() == []
    assert report.cameras[0].lost == 2 + 2 + 2


BIG = 2**53


@pytest.mark.parametrize("first", [10**14, BIG - 1, 10**17, 2**62 - 10])
def test_large_seqs_are_exact(plant: Plant, first: int) -> None:
    camera = plant.camera()
    offer_on(camera, first, first + 1, first + 4)
    assert offer_on(camera, first + 4, first + 3)[0].status is Status.SEEN
    plant.judge()
    report = prove(plant)
    assert report.broken() == []
    (book,) = report.cameras
    assert (book.offered, book.gaps, book.lost) == (3, ((first + 2, first + 3),), 2)
    assert plant.camera().position() == (first + 4, "")


@pytest.mark.parametrize("seq", [-1, 2**62])
def test_seq_beyond_the_limit_is_refused_at_the_camera(plant: Plant, seq: int) -> None:
    with pytest.raises(SettingsError, match="is outside"):
        plant.camera().offer(seq, b"head", b"x", 100, SOON_NS, "", shed=False)


@pytest.mark.parametrize("last", ["1e30", "1.0000000000000019e+17", "many", "-3"])
def test_damaged_books_of_a_camera_are_named_by_camera_and_proof(plant: Plant, last: str) -> None:
    run_lines(plant)
    camera = plant.camera()
    plant.client.hset(Keys(plant.name).camera("cam"), "last", last)
    with pytest.raises(SettingsError, match="books of camera 'cam' are damaged"):
        camera.position()
    with pytest.raises(SettingsError, match="books of camera 'cam' are damaged"):
        camera.offer(99, b"head", b"x", 100, SOON_NS, "", shed=False)
    if not last.startswith("-"):
        assert any("books of camera cam cannot be read" in said for said in prove(plant).broken())


def test_name_that_no_camera_can_have_is_named_by_the_proof(plant: Plant, url: str) -> None:
    run_lines(plant)
    plant.client.sadd(Keys(plant.name).cameras, b"[/]\xff")
    (sentence,) = prove(plant).broken()
    assert "no camera can have the name '[/]" in sentence
    command = [*COMMAND, "--line", plant.name, "--redis-url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "no camera can have the name" in done.stdout
