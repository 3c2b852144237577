"""A line's labels into the sample store, over a real server."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.archive import Archive, ArchivedFrame
from pipeline.errors import ConnectionLost
from pipeline.label_rules import box
from pipeline.labels import Label, LabelBook, LabelKind
from trainer.errors import DatasetError
from trainer.progress import TerminalSteps
from trainer.retrain.collect import Collected, collect
from trainer.retrain.options import Dependencies
from trainer.retrain_settings import RetrainSettings
from trainer.samples.store import SampleStore

FIRST_MS = 1_764_140_400_000


def entry(number: int) -> str:
    return f"{FIRST_MS}-{number}"


@pytest.fixture
def archive(tmp_path: Path, line: str, rng: np.random.Generator) -> Archive:
    made = Archive(tmp_path / "archive", line)
    for number in range(4):
        pixels = rng.integers(0, 256, (48, 48, 3), np.uint8)
        made.store(
            ArchivedFrame(entry(number), pixels, {"mask": None, "entry_id": entry(number)}),
            by_chance=False,
        )
        assert made.pin(entry(number))
    return made


def options(folder: Path, line: str, url: str, archive: Path | None) -> RetrainSettings:
    given = RetrainSettings(
        store=folder / "store",
        registry=str(folder / "registry"),
        runs=folder / "runs",
        archive=archive,
        redis_url=url,
    )
    return given.model_copy(update={"line": [line]})  # also without an archive


def collected(given: RetrainSettings) -> Collected:
    with TerminalSteps(Console(quiet=True)) as steps, SampleStore.open(given.store) as store:
        dependencies = Dependencies(
            steps,
            print,
            lambda _: 0,
            lambda line: LabelBook(line, redis_url=given.redis_url, redis_wait_s=0),
        )
        return collect(store, given, dependencies)


def test_labels_become_samples_once_and_their_frames_are_let_go(
    tmp_path: Path, line: str, url: str, archive: Archive
) -> None:
    with LabelBook(line, redis_url=url) as book:
        book.send(Label(entry(0), LabelKind.NORMAL))
        book.send(Label(entry(1), LabelKind.DEFECT, "dent", outlines=(box(4, 4, 9, 9),)))
        book.send(Label(entry(2), LabelKind.UNSURE))
        book.send(Label(f"{FIRST_MS}-99", LabelKind.NORMAL))  # long expired
    given = options(tmp_path, line, url, tmp_path / "archive")
    found = collected(given)
    assert (found.labels, found.new, found.changed, found.recorded) == (4, 2, 0, 2)
    assert [archive.is_pinned(entry(number)) for number in range(4)] == [False, False, False, True]
    with SampleStore.look(given.store) as store:
        assert sorted(picture.kind for picture in store.pictures()) == ["dent", "good"]

    assert collected(given).labels == 0
    with LabelBook(line, redis_url=url) as book:
        book.send(Label(entry(0), LabelKind.DEFECT, "dent"))
    assert collected(given).changed == 1


def test_mask_of_another_size_costs_the_mask_and_not_the_label(
    tmp_path: Path, line: str, url: str, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    assert [archive.frame_size(entry(number)) for number in (0, 9)] == [(48, 48), None]
    with LabelBook(line, redis_url=url) as book:
        for side in (48, 8000):
            mask = np.zeros((side, side), np.bool_)
            mask[3, 4] = True
            book.send(Label(entry(side % 3), LabelKind.DEFECT, "dent", mask))
    given = options(tmp_path, line, url, tmp_path / "archive")
    assert collected(given).new == 2
    misfits = [row.__dict__["why"] for row in caplog.records if row.msg == "label.mask_misfits"]
    assert len(misfits) == 1
    assert "mask of 8000x8000" in misfits[0]


def test_line_without_an_archive_is_refused_before_its_labels_are_read(
    tmp_path: Path, line: str, url: str
) -> None:
    with LabelBook(line, redis_url=url) as book:
        book.send(Label(entry(0), LabelKind.NORMAL))
    with pytest.raises(DatasetError, match="--archive"):
        collected(options(tmp_path, line, url, None))
    with SampleStore.look(tmp_path / "store") as store:
        assert store.labels_read(line) == "0-0"


def test_labels_wait_while_the_archive_is_not_mounted(
    tmp_path: Path, line: str, url: str, archive: Archive
) -> None:
    with LabelBook(line, redis_url=url) as book:
        book.send(Label(entry(0), LabelKind.NORMAL))
    given = options(tmp_path, line, url, tmp_path / "archive")
    away = archive.folder.rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="mount it"):
        collected(given)
    away.rename(archive.folder)
    found = collected(given)
    assert (found.labels, found.new) == (1, 1)
    assert not archive.is_pinned(entry(0))


def test_labels_wait_while_a_frame_cannot_be_read(
    tmp_path: Path, line: str, url: str, archive: Archive
) -> None:
    with LabelBook(line, redis_url=url) as book:
        book.send(Label(entry(0), LabelKind.NORMAL))
        book.send(Label(entry(1), LabelKind.NORMAL))
    given = options(tmp_path, line, url, tmp_path / "archive")
    picture = archive.picture_path(entry(1))
    hidden = picture.rename(tmp_path / "hidden.png")
    picture.mkdir()  # what is there and gives an OSError, for any user
    with pytest.raises(DatasetError, match=f"{entry(1)} cannot be read now"):
        collected(given)
    picture.rmdir()
    hidden.rename(picture)
    found = collected(given)
    assert (found.labels, found.new) == (1, 1)


def test_server_that_is_away_is_said(tmp_path: Path, line: str) -> None:
    given = options(tmp_path, line, "redis://127.0.0.1:1", tmp_path / "archive")
    with pytest.raises(ConnectionLost):
        collected(given)
