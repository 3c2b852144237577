from collections.abc import Callable
from pathlib import Path

import pytest
from label_fakes import FakeStream, entry, store

from pipeline.archive import Archive
from pipeline.errors import ConnectionLost, LabelError
from pipeline.label_request import read_request
from pipeline.labeller import Labeller

NORMAL = read_request(f'{{"entry": "{entry()}", "as": "normal"}}')
HOLE = read_request(f'{{"entry": "{entry()}", "as": "defect", "defect": "hole", "by": "bob"}}')


def once(action: Callable[[], str]) -> str:
    return action()


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path, "line-1")
    store(archive, entry())
    return archive


def test_frame_is_let_go_again_where_its_label_could_not_be_sent(
    stream: FakeStream, archive: Archive
) -> None:
    labeller = Labeller(stream, archive, "anna", once)
    stream.failures = [ConnectionLost("away")]
    with pytest.raises(ConnectionLost):
        labeller.label(NORMAL)
    assert not archive.is_pinned(entry())
    labeller.label(NORMAL)
    stream.failures = [ConnectionLost("away")]
    with pytest.raises(ConnectionLost):
        labeller.label(HOLE)
    assert archive.is_pinned(entry())  # for the label that did arrive


def test_contradiction_is_found_with_labels_of_others_and_with_its_own(
    stream: FakeStream, archive: Archive
) -> None:
    assert Labeller(stream, archive, "anna", once).label(NORMAL).earlier is None
    labeller = Labeller(stream, archive, "carl", once)
    assert labeller.label(NORMAL).earlier is None
    sent = labeller.label(HOLE)
    assert "was labelled normal by carl before" in sent.contradiction()
    assert "was labelled defect hole by bob before" in labeller.label(NORMAL).contradiction()
    assert [label.by for label in stream.sent] == ["anna", "carl", "bob", "carl"]


def test_label_is_checked_though_no_archive_is_there(stream: FakeStream) -> None:
    labeller = Labeller(stream, None, "anna", once)
    assert labeller.label(NORMAL).marked_px is None
    wrong = HOLE.model_copy(update={"defect": "../hole"})
    with pytest.raises(LabelError):
        labeller.label(wrong)
    assert len(stream.sent) == 1
