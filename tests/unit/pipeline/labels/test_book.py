"""Labels are decoded as they are asked for: a page of large ones does not add up in memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from pipeline.frames import Label, LabelKind
from pipeline.labels import FROM_THE_FIRST, LabelBook, book
from pipeline.labels.book import MOST_PAGE_BYTES, all_labels
from pipeline.wire.label import encode_label

SIDE = 3000


class Stored:
    """A stream of labels as Redis holds them."""

    def __init__(self, *packed: bytes) -> None:
        self.labels = [(f"{at + 1}-0", one) for at, one in enumerate(packed)]
        self.largest_page = 0

    def since(self, after: str, count: int) -> list[tuple[str, bytes]]:
        start = int(after.partition("-")[0])
        page = self.labels[start : start + count]
        self.largest_page = max(self.largest_page, len(page))
        return page


def with_mask(side: int) -> bytes:
    mask = np.zeros((side, side), np.bool_)
    mask[0, 0] = True
    return encode_label(Label("1764140000000-0", LabelKind.DEFECT, "scratch", mask=mask))


def with_outlines() -> bytes:
    outline = tuple((float(at % 7), 1.0) for at in range(4096))
    return encode_label(Label("1764140000000-0", LabelKind.DEFECT, outlines=(outline,) * 12))


def opened(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> LabelBook:
    reader = LabelBook("line-1")
    monkeypatch.setattr(reader, "_stream", stored)
    return reader


@pytest.mark.parametrize("packed", [with_mask(SIDE), with_outlines()])
def test_page_of_large_labels_ends_early_and_none_is_lost(
    packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(*[packed] * 40)
    reader = opened(stored, monkeypatch)
    after, ids, peak = FROM_THE_FIRST, [], 0
    tracemalloc.start()
    while page := reader.since(after):
        ids += [label_id for label_id, _ in page]
        after = page[-1][0]
        peak = max(peak, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert ids == [label_id for label_id, _ in stored.labels]
    assert peak < 5 * MOST_PAGE_BYTES
    assert stored.largest_page <= book.PACKED_PAGE


def test_small_labels_come_in_pages_of_the_size_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = Stored(*[with_mask(8)] * 50, b"none", *[with_mask(8)] * 50)
    reader = opened(stored, monkeypatch)
    assert len(reader.since()) == 100
    first = reader.since(FROM_THE_FIRST, 40)
    assert len(first) == 40
    assert len(reader.since(first[-1][0])) == 60
    assert reader.since("101-0") == []


def test_all_labels_are_decoded_one_at_a_time() -> None:
    stored = Stored(*[with_mask(SIDE)] * 40)
    tracemalloc.start()
    ids = [int(label_id.partition("-")[0]) for label_id, _ in all_labels(stored)]  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(later == earlier + 1 for earlier, later in pairwise(ids))
    assert len(ids) == 40
    assert peak < 6 * SIDE * SIDE
