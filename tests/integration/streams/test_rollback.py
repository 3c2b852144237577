"""Redis goes back to an earlier state: who is there to notice, and what the proof says of it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs.line import SOON_NS, Plant, head_of
from rigs.topology import wait_until

from pipeline.commands.proof import Report
from pipeline.commands.reconcile import reconcile
from pipeline.consumer import Consumer, Verdicts
from pipeline.errors import SettingsError
from pipeline.frames import Reason
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, killed, revive
from pipeline.streams.frame_consumer import Answer
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import Keys
from pipeline.streams.rollback.marks import LostWrites, Marks
from pipeline.streams.rollback.watch import MOST_NOTES, RollbackWatch

RECONCILE = [sys.executable, "-c", "from pipeline.cli import reconcile; reconcile()"]
WAIT_S = 20.0


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


def watch_of(plant: Plant, who: str = "worker", **more: object) -> RollbackWatch:
    return RollbackWatch(plant.client, plant.name, who, **more)  # type: ignore[arg-type]


def offer_as(camera: FrameProducer, *seqs: int) -> None:
    due = time.time_ns() + SOON_NS
    for seq in seqs:
        camera.offer(seq, head_of("cam", seq, due), b"x", 100, SOON_NS, "", shed=False)


def proof(plant: Plant) -> Report:
    return reconcile(plant.ledger())


def put_back(plant: Plant, look: Callable[[], object]) -> None:
    """Offer and judge 0 to 79, then 80 to 154, with a look after each, and lose the latter."""
    plant.offer(*range(80))
    plant.judge()
    look()
    state = plant.saved_state()
    plant.offer(*range(80, 155))
    plant.judge()
    look()
    plant.go_back(state)


def test_line_that_only_goes_on_is_never_accused(plant: Plant) -> None:
    watches = [watch_of(plant), watch_of(plant, "another")]
    for seq in range(0, 40, 10):
        plant.offer(*range(seq, seq + 5))
        assert [watch.ask() for watch in watches] == [None, None]
        plant.judge()
        watches[0].note_frame("cam", seq + 4)
        watches[0].note_verdict(5 * (seq // 10 + 1))
    assert [watch.ask() for watch in watches] == [None, None]
    assert proof(plant).broken() == []


def test_worker_that_lives_on_marks_the_loss_though_no_camera_comes_back(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    worker = watch_of(plant, "worker w1")
    put_back(plant, worker.ask)
    assert worker.ask() == LostWrites((81, 155), (("cam", 79, 154),))
    assert worker.ask() is None
    (logged,) = [row.__dict__ for row in caplog.records if row.message == "books.rolled_back"]
    assert (logged["levelname"], logged["by"]) == ("ERROR", "worker w1")
    assert (logged["camera"], logged["from_seq"], logged["to_seq"]) == ("cam", 80, 154)
    assert (logged["from_verdict"], logged["to_verdict"]) == (81, 155)
    assert worker.rollbacks == 1
    worker.close()  # what it found stays
    report = proof(plant)
    assert report.rolled_back == (("cam", 80, 154),)
    assert report.unpublished == ((81, 155),)
    assert [record.by for record in report.rollbacks] == ["worker w1"]
    assert len(report.broken()) == 2


def test_damaged_header_accuses_nobody(plant: Plant) -> None:
    worker = watch_of(plant)
    plant.offer(0, 1)
    worker.ask()
    worker.note_frame("cam", 2**62)
    for camera in ("no-such-camera", "", "a b", "{x}"):
        worker.note_frame(camera, 5)
    worker.note_verdict(2**62)
    assert worker.ask() is None
    assert worker.ask() is None
    assert proof(plant).broken() == []


def test_last_second_before_a_server_that_is_killed_is_known_from_what_was_read(
    binary: Path, tmp_path: Path
) -> None:
    data, saved = tmp_path / "appendonlydir", tmp_path / "saved"
    with embedded_url(tmp_path, server=binary) as url:
        client = open_client(Access(url))
        plant = Plant(client, "line-1")
        plant.offer(*range(80))
        worker = watch_of(plant)
        worker.ask()
        shutil.copytree(data, saved)
        plant.offer(*range(80, 155))
        worker.note_frame("cam", 120)  # it has read no more, and did not look again
        with killed(tmp_path):
            shutil.rmtree(data)
            shutil.copytree(saved, data)
        revive(tmp_path, server=binary)
        assert worker.ask() == LostWrites(None, (("cam", 79, 120),))
        assert worker.ask() is None
        assert proof(plant).rolled_back == (("cam", 80, 120),)
        with killed(tmp_path):
            pass  # and nothing is lost
        revive(tmp_path, server=binary)
        worker.note_frame("cam", 79)
        assert worker.ask() is None
        client.close()


def test_camera_that_restarts_and_catches_up_does_not_hide_the_loss(plant: Plant) -> None:
    worker = watch_of(plant)
    plant.offer(*range(80))
    plant.judge()
    assert worker.ask() is None  # a note that the server keeps
    state = plant.saved_state()
    plant.offer(*range(80, 155))
    plant.judge()
    assert worker.ask() is None  # a note that it loses
    plant.go_back(state)
    plant.offer(*range(80, 300))  # by a camera that knows nothing, under the same numbers
    plant.judge()
    assert worker.ask() == LostWrites((81, 155), (("cam", 79, 154),))
    assert proof(plant).rolled_back == (("cam", 80, 154),)


def test_live_camera_that_restarts_goes_on_after_what_was_lost(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    worker = watch_of(plant)
    put_back(plant, worker.ask)
    worker.ask()
    files, live = plant.camera(), plant.camera()
    assert files.position() == (79, "")
    assert live.position(past_lost=True) == (154, "")
    caplog.clear()
    offer_as(live, 155, 158)
    assert caplog.messages == []  # it was told before
    assert live.position(past_lost=True) == (158, "")
    plant.judge()
    (book,) = proof(plant).cameras
    assert (book.rolled_back, book.gaps, book.lost) == (((80, 154),), ((156, 157),), 2)


def test_camera_that_lives_on_says_it_without_an_offer_and_once(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    camera = plant.camera()
    own = watch_of(plant, "camera", own_camera="cam")
    camera.on_admission = own.note_frame
    offer_as(camera, *range(80))
    state = plant.saved_state()
    offer_as(camera, *range(80, 155))
    plant.go_back(state)
    assert own.ask() == LostWrites(None, (("cam", 79, 154),))
    offer_as(camera, 155)
    assert own.ask() is None
    assert caplog.messages.count("books.rolled_back") == 1
    assert proof(plant).rolled_back == (("cam", 80, 154),)
    assert plant.client.hget(Keys(plant.name).camera("cam"), "rolled") == b"75"


def test_witnesses_that_know_different_parts_of_a_loss_are_joined(plant: Plant) -> None:
    worker, late = watch_of(plant), watch_of(plant, "late")
    put_back(plant, worker.ask)
    plant.offer(*range(80, 120))
    late.ask()
    state = plant.saved_state()
    plant.offer(*range(120, 130))
    late.ask()
    plant.go_back(state)
    assert worker.ask() == LostWrites((81, 155), (("cam", 79, 154),))
    assert late.ask() == LostWrites(None, (("cam", 119, 129),))
    report = proof(plant)
    assert report.rolled_back == (("cam", 80, 154),)
    assert report.rolled_frames() == 75


def test_camera_that_the_server_never_heard_of_is_named(plant: Plant) -> None:
    plant.offer(0, camera="other")
    worker = watch_of(plant)
    worker.ask()
    state = plant.saved_state()
    plant.offer(0, 1, 2)
    worker.ask()
    plant.go_back(state)
    assert worker.ask() == LostWrites(None, (("cam", -1, 2),))
    report = proof(plant)
    assert (report.rolled_back, report.damaged) == ((("cam", 0, 2),), ())
    live = plant.camera()
    assert live.position(past_lost=True) == (2, "")
    offer_as(live, 3)
    assert proof(plant).rolled_back == (("cam", 0, 2),)


def test_worker_is_told_the_number_of_what_it_published(plant: Plant) -> None:
    numbers: list[int] = []
    plant.offer(0, 1, 2)
    plant.judge(count=2)
    worker = plant.worker()
    worker.on_publish = numbers.append
    (entry,) = worker.read(1, 0)
    worker.answer([Answer(entry, Reason.UNREADABLE)])
    worker.answer([Answer(entry, Reason.UNREADABLE)])  # answered before
    assert numbers == [3, 0]


@pytest.mark.parametrize("book", ["witnesses", "rollbacks", "counts", "cameras"])
def test_book_of_another_kind_ends_no_watch_and_accuses_nobody(plant: Plant, book: str) -> None:
    plant.offer(0, 1)
    plant.judge()
    worker = watch_of(plant)
    worker.ask()
    with plant.client.pipeline(transaction=True) as pipe:
        pipe.delete(f"{{{plant.name}}}:{book}")
        pipe.zadd(f"{{{plant.name}}}:{book}", {"of another kind": 1})
        pipe.execute()
    assert [worker.ask(), worker.ask()] == [None, None]
    assert worker.rollbacks == 0
    plant.offer(2)  # whoever writes puts the key aside
    plant.judge()
    assert [worker.ask(), worker.ask()] == [None, None]
    worker.close()


def test_refusal_of_the_watch_ends_nobody_and_is_said_once(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    user = f"narrow-{plant.name}"
    plant.client.execute_command("ACL", "SETUSER", user, "on", ">secret", "+@all", "~elsewhere:*")
    client = open_client(Access(url, user, "secret"))
    worker = watch_of(Plant(client, plant.name))
    assert [worker.ask(), worker.ask()] == [None, None]
    assert caplog.messages == ["books.unwatched"]
    plant.client.execute_command("ACL", "SETUSER", user, "~*")
    worker.ask()
    assert plant.client.hlen(Keys(plant.name).witnesses) == 1
    client.close()


def test_note_is_taken_away_at_the_end_and_many_notes_are_bounded(plant: Plant) -> None:
    watch = watch_of(plant)
    watch.ask()
    watch.close()
    witnesses = Keys(plant.name).witnesses
    assert plant.client.hlen(witnesses) == 0
    for number in range(MOST_NOTES + 10):
        watch_of(plant, f"killed-{number}").ask()
    assert plant.client.hlen(witnesses) <= MOST_NOTES


@contextmanager
def listening(plant: Plant, url: str, books: Path | None = None) -> Iterator[Verdicts]:
    with Consumer(plant.name, "plc", redis_url=url, from_start=True, books=books) as verdicts:
        yield verdicts


def hear(verdicts: Verdicts, count: int) -> None:
    for _ in range(count):
        verdict = verdicts.next(WAIT_S)
        assert verdict is not None
        verdicts.acknowledge(verdict)


def noted_by_all(plant: Plant) -> list[int]:
    """How many verdicts each program that watches has noted."""
    notes = plant.client.hvals(Keys(plant.name).witnesses)
    return [marks.published for note in notes if (marks := Marks.unpack(note))]


def test_program_that_lives_on_marks_what_it_had_heard(plant: Plant, url: str) -> None:
    plant.offer(*range(10))
    plant.judge()
    with listening(plant, url) as verdicts:
        hear(verdicts, 10)
        wait_until(lambda: noted_by_all(plant) == [10])
        state = plant.saved_state()
        plant.offer(*range(10, 15))
        plant.judge()
        hear(verdicts, 5)
        wait_until(lambda: noted_by_all(plant) == [15])
        plant.go_back(state)
        wait_until(lambda: bool(plant.client.llen(Keys(plant.name).rollbacks)))
    report = proof(plant)
    assert report.rollbacks[0].by == "program plc"
    ((camera, first, last),) = report.rolled_back
    assert (camera, last) == ("cam", 14)
    assert first <= 10
    assert report.unpublished[-1][1] == 15


def test_program_that_was_away_remembers_with_its_file(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    plant.offer(*range(10))
    plant.judge()
    state = plant.saved_state()
    plant.offer(*range(10, 15))
    plant.judge()
    with listening(plant, url, tmp_path / "plc.json") as verdicts:
        hear(verdicts, 15)
    plant.go_back(state)
    with listening(plant, url, tmp_path / "plc.json"):
        wait_until(lambda: bool(plant.client.llen(Keys(plant.name).rollbacks)))
    assert proof(plant).rolled_back[0][2] == 14


def ask_reconcile(plant: Plant, url: str, books: Path) -> subprocess.CompletedProcess[str]:
    command = [*RECONCILE, "--line", plant.name, "--redis-url", url, "--books", str(books)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_reconcile_that_kept_its_books_sees_what_everyone_else_missed(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    books = tmp_path / "books.json"
    plant.offer(*range(80))
    plant.judge()
    assert ask_reconcile(plant, url, books).returncode == 0
    state = plant.saved_state()
    plant.offer(*range(80, 155))
    plant.judge()
    done = ask_reconcile(plant, url, books)
    assert (done.returncode, "every promise was kept" in done.stdout) == (0, True)
    plant.go_back(state)
    plant.offer(*range(80, 200))  # every program is new, and knows nothing
    plant.judge()
    for _ in range(2):  # it stays in the books
        done = ask_reconcile(plant, url, books)
        assert done.returncode == 1
        assert "these sequence numbers may be lost: cam/80..154" in done.stdout
        assert "every promise was kept" not in done.stdout
    assert proof(plant).broken() != []  # also without the file
    keys = Keys(plant.name)
    plant.client.delete(keys.rollbacks, keys.rolled("cam"))  # by a person who took the parts out
    assert ask_reconcile(plant, url, books).returncode == 0


def test_file_of_another_line_is_refused_and_a_damaged_one_is_said(
    plant: Plant, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    books = tmp_path / "books.json"
    watch_of(plant, file=books).ask()
    with pytest.raises(SettingsError, match="is of line"):
        RollbackWatch(plant.client, "another", "worker", file=books)
    books.write_bytes(b"{")
    assert watch_of(plant, file=books).ask() is None
    assert caplog.messages == ["books.unreadable"]


def test_file_that_is_older_than_the_books_accuses_nobody(plant: Plant, tmp_path: Path) -> None:
    books = tmp_path / "books.json"
    watch = watch_of(plant, file=books)
    plant.offer(0)
    watch.ask()
    old = books.read_bytes()
    plant.offer(1)
    watch.ask()
    books.write_bytes(old)  # a kill between the note in Redis and the one on disk
    again = watch_of(plant, file=books)
    assert again.ask() is None
    assert again.ask() is None
