import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rigs.line import Plant, judgement_of

from pipeline.archive import Archive, ArchivedFrame
from pipeline.consumer import Consumer
from pipeline.errors import ConnectionLost, LabelError
from pipeline.frames import Decision, FrameMeta, Reason, Verdict
from pipeline.label_rules import box
from pipeline.labels import FROM_THE_FIRST, Label, LabelBook, LabelKind
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
from pipeline.streams.keys import Keys
from pipeline.verdicts import verdict_fields

COMMAND = [sys.executable, "-c", "from pipeline.cli import label; label()"]
WAIT_S = 20.0
FIRST_MS = 1_764_140_400_000


@pytest.fixture
def book(url: str, line: str) -> Iterator[LabelBook]:
    with LabelBook(line, redis_url=url) as opened:
        yield opened


@pytest.fixture
def archive(tmp_path: Path, line: str) -> Archive:
    """Three frames: 0 and 1 of part-1 and part-2, both NG; 2 of part-1 by another camera."""
    archive = Archive(tmp_path / "archive", line)
    for number, camera in enumerate(("cam", "cam", "top")):
        meta = FrameMeta(camera, number, f"part-{number % 2 + 1}", FIRST_MS * 1_000_000, 2)
        said = judgement_of(Decision.NG)
        verdict = Verdict(line, meta, Decision.NG, None, said, entry(number))
        pixels = np.full((8, 8, 3), number, np.uint8)
        fields = verdict_fields(verdict, with_mask=True)
        archive.store(ArchivedFrame(entry(number), pixels, fields), by_chance=False)
    return archive


def entry(number: int) -> str:
    return f"{FIRST_MS}-{number}"


def command(
    url: str, archive: Archive, *flags: str, given: str | None = None
) -> "subprocess.CompletedProcess[str]":
    where = ["--redis-url", url, "--line", archive.folder.name]
    words = [*COMMAND, *where, "--archive", str(archive.folder.parent), *flags]
    return subprocess.run(words, capture_output=True, text=True, check=False, input=given)


def kinds(book: LabelBook) -> list[tuple[str, str]]:
    return [(label.entry_id, label.kind.value) for _, label in book.since(FROM_THE_FIRST)]


def test_labels_are_read_in_order_from_where_a_reader_left_off(book: LabelBook) -> None:
    ids = [book.send(Label(entry(number), LabelKind.NORMAL)) for number in range(5)]
    first = book.since(FROM_THE_FIRST, count=2)
    assert [label_id for label_id, _ in first] == ids[:2]
    assert [label_id for label_id, _ in book.since(first[-1][0])] == ids[2:]
    assert book.since(ids[-1]) == []


def test_label_arrives_as_it_was_given(book: LabelBook) -> None:
    mask = np.eye(8, dtype=np.bool_)
    book.send(Label(entry(1), LabelKind.DEFECT, "scratch", mask, by="anna", at_ns=7))
    book.send(Label(entry(1), LabelKind.DEFECT, outlines=(box(1, 2, 3, 4),)))
    (_, drawn), (_, boxed) = book.since(FROM_THE_FIRST)
    assert drawn.mask is not None
    assert np.array_equal(drawn.mask, mask)
    assert (drawn.entry_id, drawn.defect, drawn.by, drawn.at_ns) == (entry(1), "scratch", "anna", 7)
    assert boxed.outlines == (box(1, 2, 3, 4),)
    assert abs(boxed.at_ns - time.time_ns()) < 60 * 10**9


def test_label_that_is_sent_again_does_not_overturn_a_correction(book: LabelBook) -> None:
    said, corrected = Label(entry(1), LabelKind.NORMAL), Label(entry(1), LabelKind.UNSURE)
    first = book.send(said)
    book.send(corrected)
    assert book.send(said) == first
    assert kinds(book) == [(entry(1), "normal"), (entry(1), "unsure")]
    book.send(Label(entry(1), LabelKind.NORMAL))  # said anew
    assert kinds(book)[-1] == (entry(1), "normal")


def test_what_is_no_label_stops_no_reader_and_is_said_once(
    book: LabelBook, client: Client, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    foreign: list[dict[Any, Any]] = [{"x": "y"}, {"l": b"\xc1"}, {"l": b"\x80"}]
    for number in range(2):
        book.send(Label(entry(number), LabelKind.NORMAL))
        for fields in foreign:
            client.xadd(Keys(line).labels, fields)
    assert kinds(book) == [(entry(0), "normal"), (entry(1), "normal")]
    first, _ = book.since(FROM_THE_FIRST)
    assert [label.entry_id for _, label in book.since(first[0], count=1)] == [entry(1)]
    last = book.since(first[0])[-1][0]
    assert book.since(last) == book.since(last) == []
    assert [record.msg for record in caplog.records] == ["label.unreadable"] * 6


def test_label_that_cannot_be_right_is_not_sent(book: LabelBook, client: Client, line: str) -> None:
    with pytest.raises(LabelError):
        book.send(Label(entry(1), LabelKind.NORMAL, predicted=True))
    assert client.xlen(Keys(line).labels) == 0


def test_labels_are_bounded(book: LabelBook, client: Client, line: str) -> None:
    fill = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'l', '') end"
    client.eval(fill, 1, Keys(line).labels, 101_000)
    book.send(Label(entry(1), LabelKind.NORMAL))
    assert 100_000 <= client.xlen(Keys(line).labels) < 101_000


def test_closed_book_says_how_it_is_opened(url: str, line: str) -> None:
    with pytest.raises(RuntimeError, match="with"):
        LabelBook(line, redis_url=url).since()


def test_missing_server_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionLost, match="does not answer"),
        LabelBook("line", redis_url=f"unix://{tmp_path}/none.sock", redis_wait_s=0),
    ):
        pass


def test_program_labels_the_verdicts_that_it_reads(
    client: Client, url: str, line: str, book: LabelBook
) -> None:
    plant = Plant(client, line)
    plant.offer(1, 2)
    plant.judge(Decision.NG, count=1)
    plant.judge(Reason.LATE)
    with Consumer(line, "plc", redis_url=url, from_start=True) as verdicts:
        bad, late = verdicts.next(WAIT_S), verdicts.next(WAIT_S)
        assert bad is not None
        assert late is not None
        verdicts.label(bad, LabelKind.DEFECT, defect="scratch", predicted=True)
        verdicts.label(late, LabelKind.NORMAL)
        with pytest.raises(LabelError, match="marks nothing"):
            verdicts.label(late, LabelKind.DEFECT, predicted=True)
        with pytest.raises(LabelError, match="mask of"):
            verdicts.label(bad, LabelKind.DEFECT, mask=np.ones((4, 4), np.bool_))
    (_, first), (_, second) = book.since(FROM_THE_FIRST)
    assert (first.entry_id, first.predicted, first.by) == (bad.entry_id, True, "plc")
    assert (second.entry_id, second.kind) == (late.entry_id, LabelKind.NORMAL)


def one_verdict(client: Client, verdicts: Consumer) -> Verdict:
    plant = Plant(client, "line")
    plant.offer(1)
    plant.judge()
    verdict = verdicts.next(WAIT_S)
    assert verdict is not None
    return verdict


def test_label_given_while_redis_is_away_arrives_when_it_is_back(tmp_path: Path) -> None:
    server = find_server()
    with embedded_url(tmp_path, server=server) as url:
        client = open_client(Access(url))
        with Consumer("line", "plc", redis_url=url, from_start=True) as verdicts:
            verdict = one_verdict(client, verdicts)
            stop(tmp_path)
            verdicts.label(verdict, LabelKind.UNSURE)
            time.sleep(0.3)
            revive(tmp_path, server=server)
            deadline = time.monotonic() + WAIT_S
            while client.xlen(Keys("line").labels) < 1 and time.monotonic() < deadline:
                time.sleep(0.05)
        with LabelBook("line", redis_url=url) as book:
            assert kinds(book) == [(verdict.entry_id, "unsure")]
        client.close()


def test_label_that_could_not_be_sent_is_counted_and_none_is_taken_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with embedded_url(tmp_path, server=find_server()) as url:
        client = open_client(Access(url))
        with Consumer("line", "plc", redis_url=url, from_start=True) as verdicts:
            verdict = one_verdict(client, verdicts)
            stop(tmp_path)
            verdicts.acknowledge(verdict)
            verdicts.label(verdict, LabelKind.UNSURE)
        client.close()
    assert [one.__dict__["labels"] for one in caplog.records if one.msg == "labels.unsent"] == [1]
    with pytest.raises(LabelError, match="closed"):
        verdicts.label(verdict, LabelKind.UNSURE)


def test_command_labels_a_part_and_keeps_its_frame(
    url: str, archive: Archive, book: LabelBook
) -> None:
    flags = ["--as", "defect", "--defect", "scratch", "--predicted", "--by", "anna", "--json"]
    done = command(url, archive, "--part", "part-2", *flags)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["entry_id"], said["marked_px"], said["contradicts"]) == (entry(1), 9, None)
    ((label_id, label),) = book.since(FROM_THE_FIRST)
    assert said["label_id"] == label_id
    assert (label.defect, label.by, label.predicted) == ("scratch", "anna", True)
    archive.trim(0, 0.0, time.time())
    assert list(archive.entries()) == [entry(1)]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--entry", "1764140400000-9", "--as", "normal"], "has expired"),
        (["--part", "part-1", "--as", "normal"], "2 frames of part 'part-1'"),
        (["--camera", "cam", "--seq", "9", "--as", "normal"], "no frame of seq 9"),
        (["--part", "part-2", "--as", "normal", "--predicted"], "leave the mask out"),
        (["--part", "part-2", "--as", "defect", "--box", "90,90,2,2"], "within the 8x8"),
        (["--part", "part-2", "--as", "defect", "--mask", "none.png"], "none.png"),
    ],
)
def test_command_refuses_what_cannot_be_right_and_keeps_nothing(
    url: str, archive: Archive, book: LabelBook, flags: list[str], why: str
) -> None:
    done = command(url, archive, *flags)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert book.since() == []
    assert not any(archive.is_pinned(entry_id) for entry_id in archive.entries())


def test_contradiction_is_said_both_are_kept_and_the_last_one_counts(
    url: str, archive: Archive, book: LabelBook
) -> None:
    command(url, archive, "--part", "part-2", "--as", "normal", "--by", "anna")
    done = command(url, archive, "--part", "part-2", "--as", "defect", "--defect", "hole")
    assert done.returncode == 0
    assert "was labelled normal by anna before" in done.stderr
    assert kinds(book) == [(entry(1), "normal"), (entry(1), "defect")]
    again = command(url, archive, "--part", "part-2", "--as", "defect", "--defect", "hole")
    assert "before" not in again.stderr


def test_script_labels_many_and_a_bad_line_stops_none(
    url: str, archive: Archive, book: LabelBook
) -> None:
    lines = [
        {"entry": entry(0), "as": "normal"},
        {"entry": entry(7), "as": "normal"},
        {"part": "part-2", "as": "defect", "box": [[1, 1, 2, 2]], "by": "checker"},
        {"camera": "top", "seq": 2, "as": "unsure"},
    ]
    given = "\n".join(["no JSON", "", *map(json.dumps, lines)])
    done = command(url, archive, "--from", "-", "--json", given=given)
    assert done.returncode == 1
    assert "line 1: " in done.stderr
    assert "line 4: no frame" in done.stderr
    assert "sent 3, refused 2" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert kinds(book) == [(entry(0), "normal"), (entry(1), "defect"), (entry(2), "unsure")]
    assert [label.by for _, label in book.since()][1] == "checker"


def test_frames_that_wait_are_listed_newest_first(url: str, archive: Archive) -> None:
    command(url, archive, "--entry", entry(1), "--as", "normal")
    done = command(url, archive, "--list", "--json")
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert [frame["entry_id"] for frame in frames] == [entry(2), entry(0)]
    assert Path(frames[0]["picture"]).is_file()
    table = command(url, archive, "--list", "--count", "1").stdout
    assert "1 of 2 frames that wait for a label" in table


def test_command_without_an_archive_warns_that_it_cannot_look(
    url: str, line: str, book: LabelBook
) -> None:
    words = [*COMMAND, "--redis-url", url, "--line", line, "--entry", entry(5), "--as", "unsure"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "without --archive" in done.stderr
    assert kinds(book) == [(entry(5), "unsure")]


def test_folder_that_is_no_archive_of_this_line_is_said(url: str, archive: Archive) -> None:
    words = [*COMMAND, "--redis-url", url, "--line", "other", "--archive"]
    done = subprocess.run(
        [*words, str(archive.folder.parent), "--list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no archive of other" in done.stderr
