from typing import Any

import pytest
from fakes.labels import FakeStream, entry

from pipeline.errors import ConnectionLost, LabelError, RedisFull, RedisUnfit
from pipeline.labels import Label, LabelKind
from pipeline.labels.queue import MOST_UNSENT, TRY_AGAIN_S, LabelQueue


class Clock:
    """Stands still."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labels(stream: FakeStream, clock: Clock) -> LabelQueue:
    return LabelQueue(stream, clock)


def normal(number: int) -> Label:
    return Label(entry(number=number), LabelKind.NORMAL)


def entries(stream: FakeStream) -> list[Any]:
    return [label.entry_id for label in stream.sent]


def test_labels_are_sent_in_order_and_dated(labels: LabelQueue, stream: FakeStream) -> None:
    for number in range(5):
        labels.put(normal(number))
    labels.send(3)
    assert labels.left() == 2
    labels.send(3)
    assert entries(stream) == [entry(number=number) for number in range(5)]
    assert all(label.at_ns for label in stream.sent)


@pytest.mark.parametrize("error", [ConnectionLost("away"), RedisFull("full")])
def test_label_that_redis_does_not_take_is_tried_again_later(
    labels: LabelQueue, stream: FakeStream, clock: Clock, error: Exception
) -> None:
    labels.put(normal(1))
    labels.put(normal(2))
    stream.failures = [error]
    labels.send(10)
    labels.send(10)  # not yet
    assert (entries(stream), labels.left()) == ([], 2)
    clock.now_s += TRY_AGAIN_S
    labels.send(10)
    assert entries(stream) == [entry(number=1), entry(number=2)]


def test_refused_label_is_said_and_does_not_hold_up_the_others(
    labels: LabelQueue, stream: FakeStream, caplog: pytest.LogCaptureFixture
) -> None:
    labels.put(normal(1))
    labels.put(normal(2))
    stream.failures = [RedisUnfit("no right")]
    labels.close()
    assert entries(stream) == [entry(number=2)]
    assert [record.msg for record in caplog.records] == ["label.refused"]


def test_labels_unsent_at_the_end_are_counted(
    labels: LabelQueue, stream: FakeStream, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        labels.put(normal(number))
    stream.failures = [ConnectionLost("away")] * 9
    labels.close()
    assert caplog.records[-1].msg == "labels.unsent"
    assert caplog.records[-1].__dict__["labels"] == 3


def test_label_that_cannot_be_right_is_refused_at_once(labels: LabelQueue) -> None:
    with pytest.raises(LabelError):
        labels.put(Label("part-7", LabelKind.NORMAL))
    assert labels.left() == 0


def test_labels_that_nobody_takes_have_an_end(labels: LabelQueue) -> None:
    for number in range(MOST_UNSENT):
        labels.put(normal(number))
    with pytest.raises(LabelError, match="later"):
        labels.put(normal(0))
