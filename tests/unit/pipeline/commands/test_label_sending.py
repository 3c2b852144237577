import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.labels import FakeStream, entry, store

from pipeline.archive import Archive
from pipeline.commands.label import print_waiting
from pipeline.commands.label_requests import LabelSender, read_request
from pipeline.errors import ConnectionLost, LabelError, RedisUnfit
from pipeline.frames import Label, LabelKind
from pipeline.wire.label import encode_label

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


def test_frame_is_kept_where_its_label_arrived_and_the_answer_was_lost(
    stream: FakeStream, archive: Archive
) -> None:
    def lost(action: Callable[[], str]) -> str:
        action()
        raise ConnectionLost("away")

    with pytest.raises(ConnectionLost):
        LabelSender(stream, archive, "anna", lost).label(NORMAL)
    assert len(stream.sent) == 1
    assert archive.is_pinned(entry())


def test_frame_is_kept_for_one_person_where_the_label_of_another_is_refused(
    stream: FakeStream, archive: Archive
) -> None:
    bob = LabelSender(stream, archive, "bob", once)

    def refused(_action: Callable[[], str]) -> str:
        bob.label(HOLE)
        raise RedisUnfit("no right")

    with pytest.raises(RedisUnfit):
        LabelSender(stream, archive, "anna", refused).label(NORMAL)
    assert [label.by for label in stream.sent] == ["bob"]
    assert archive.is_pinned(entry())


def test_label_that_is_too_large_keeps_no_frame(stream: FakeStream, archive: Archive) -> None:
    corner = (1.0, 2.0)
    large = NORMAL.model_copy(
        update={"as_kind": LabelKind.DEFECT, "polygon": [[corner] * 4096] * 64}
    )
    with pytest.raises(LabelError, match="limit"):
        LabelSender(stream, archive, "anna", once).label(large)
    assert not archive.is_pinned(entry())


def test_frame_whose_label_did_not_arrive_waits_for_one(
    stream: FakeStream, archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.failures = [ConnectionLost("away")]
    with pytest.raises(ConnectionLost):
        LabelSender(stream, archive, "anna", once).label(NORMAL)
    print_waiting(archive, set(), 20, as_json=True)
    assert entry() in capsys.readouterr().out


def test_contradiction_is_found_with_labels_of_others_and_with_its_own(
    stream: FakeStream, archive: Archive
) -> None:
    assert LabelSender(stream, archive, "anna", once).label(NORMAL).earlier is None
    sender = LabelSender(stream, archive, "carl", once)
    assert sender.label(NORMAL).earlier is None
    sent = sender.label(HOLE)
    assert "was labelled normal by carl before" in sent.contradiction()
    assert "was labelled defect hole by bob before" in sender.label(NORMAL).contradiction()
    assert [label.by for label in stream.sent] == ["anna", "carl", "bob", "carl"]


def test_masks_of_earlier_labels_are_not_kept_in_memory(stream: FakeStream) -> None:
    mask = np.eye(1024, dtype=np.bool_)
    for number in range(20):
        label = Label(entry(number=number), LabelKind.DEFECT, mask=mask)
        stream.send(encode_label(label))
    tracemalloc.start()
    sender = LabelSender(stream, None, "anna", once)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * mask.nbytes
    assert sender.label(NORMAL).earlier is not None


def test_label_is_checked_though_no_archive_is_there(stream: FakeStream) -> None:
    sender = LabelSender(stream, None, "anna", once)
    assert sender.label(NORMAL).marked_px is None
    wrong = HOLE.model_copy(update={"defect": "../hole"})
    with pytest.raises(LabelError):
        sender.label(wrong)
    assert len(stream.sent) == 1
