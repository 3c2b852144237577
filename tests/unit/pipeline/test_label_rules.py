import contextlib
import dataclasses
import json
import tracemalloc
import zlib
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from fakes.labels import SIZE, archived, entry
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import ForeignVerdict, LabelError
from pipeline.label_rules import box, check_label, label_mask
from pipeline.labels import Label, LabelKind
from pipeline.masks import mask_of_runs, run_lengths
from pipeline.wire.label import MaskSizeError, decode_label, encode_label

ENTRY = entry()
FRAME = archived(ENTRY)
MASK = np.zeros(SIZE, np.bool_)
MASK[1, 2] = True
NORMAL, DEFECT, UNSURE = LabelKind

texts = st.text(max_size=50)
reals = st.floats(-1e5, 1e5, allow_nan=False)
corners = st.tuples(reals, reals)
outlines = st.lists(corners, min_size=3, max_size=6).map(tuple)
labels = st.builds(
    Label,
    texts,
    st.sampled_from(LabelKind),
    texts,
    st.none() | arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    st.booleans(),
    st.lists(outlines, max_size=3).map(tuple),
    texts,
    st.integers(0, 2**62),
)


@given(labels)
def test_label_survives_the_wire(label: Label) -> None:
    came = decode_label(encode_label(label))
    for name in Label.__slots__:
        sent, got = getattr(label, name), getattr(came, name)
        assert np.array_equal(sent, got) if name == "mask" and sent is not None else sent == got


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("v", "entry", "kind", "defect", "mask", "predicted", "outlines", "by", "at_ns")


@given(labels, st.sampled_from(FIELDS), anything)
def test_any_value_in_any_field_is_read_or_refused(label: Label, field: str, value: object) -> None:
    fields = msgpack.unpackb(encode_label(label)) | {field: value}
    with contextlib.suppress(LabelError):
        decode_label(msgpack.packb(fields))


@given(st.binary(max_size=300))
def test_foreign_bytes_are_no_label(foreign: bytes) -> None:
    with pytest.raises(LabelError):
        decode_label(foreign)


MANY = tuple(tuple((0.0, 0.0) for _ in range(4096)) for _ in range(17))


def hostile(**fields: object) -> bytes:
    """Change fields of a label as no program of ours would."""
    return bytes(msgpack.packb(msgpack.unpackb(encode_label(Label(ENTRY, DEFECT))) | fields))


@pytest.mark.parametrize(
    ("packed", "why", "most_mb"),
    [
        (hostile(x=[[]] * 900_000), "more than 65808 lists and maps", 16),
        (hostile(x=[{}] * 900_000), "more than 65808 lists and maps", 24),
        (hostile(outlines=[[[0, 0]] * 4096] * 17), "lists and maps", 16),
        (hostile(mask=[8000, 8000, zlib.compress(bytes(8_000_000))]), "draw it on that", 2),
        (hostile(mask=[1 << 40, 1 << 40, b""]), "draw it on that picture", 2),
    ],
)
def test_what_a_hostile_label_may_allocate_is_bounded(
    packed: bytes, why: str, most_mb: float
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(LabelError, match=why):
            decode_label(packed, lambda _: SIZE)
        peak_mb = tracemalloc.get_traced_memory()[1] / (1 << 20)
    finally:
        tracemalloc.stop()
    assert peak_mb < most_mb


def test_label_is_kept_where_its_mask_does_not_fit_its_frame() -> None:
    label = Label(ENTRY, DEFECT, "scratch", MASK, by="anna")
    assert decode_label(encode_label(label), lambda _: SIZE).mask is not None
    assert decode_label(encode_label(label), lambda _: None).mask is not None
    with pytest.raises(MaskSizeError) as refused:
        decode_label(encode_label(label), lambda _: (SIZE[0], SIZE[1] + 1))
    assert refused.value.label == replace(label, mask=None)


def test_corners_of_all_outlines_are_bounded_together() -> None:
    with pytest.raises(LabelError, match="69632 corners of all outlines, limit 65536"):
        check_label(Label(ENTRY, DEFECT, outlines=MANY))
    most = Label(ENTRY, DEFECT, outlines=MANY[:16])
    check_label(most)
    assert decode_label(encode_label(replace(most, outlines=MANY[:2]))).outlines == MANY[:2]


def test_runs_of_a_mask_are_no_more_than_its_pixels() -> None:
    with pytest.raises(ForeignVerdict, match="run lengths"):
        mask_of_runs({"size": [2, 2], "counts": [0, 0, 0, 0, 0, 4]})


def test_label_that_no_reader_would_take_is_not_sent() -> None:
    noise = np.random.default_rng(1).integers(0, 2, (4096, 4096)).astype(np.bool_)
    with pytest.raises(LabelError, match="draw the mask simpler"):
        encode_label(Label(ENTRY, DEFECT, mask=noise))


@pytest.mark.parametrize(
    "label",
    [
        Label(ENTRY, NORMAL),
        Label(ENTRY, UNSURE, by="anna"),
        Label(ENTRY, DEFECT),  # a check that knows of no place
        Label(ENTRY, DEFECT, "scratch", MASK),
        Label(ENTRY, DEFECT, predicted=True),
        Label(ENTRY, DEFECT, outlines=(box(1, 1, 2, 2), ((0, 0), (5, 0), (5, 5)))),
    ],
)
def test_label_that_says_one_thing_is_taken(label: Label) -> None:
    check_label(label)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (Label("part-7", NORMAL), "entry"),
        (Label("../../etc-0", NORMAL), "entry"),
        (Label(ENTRY, NORMAL, "scratch"), "leave it out"),
        (Label(ENTRY, NORMAL, mask=MASK), "leave the mask out"),
        (Label(ENTRY, UNSURE, predicted=True), "leave the mask out"),
        (Label(ENTRY, DEFECT, "../scratch"), "letters"),
        (Label(ENTRY, DEFECT, "Good"), "name what is wrong"),
        (Label(ENTRY, DEFECT, mask=MASK, predicted=True), "exclude each other"),
        (Label(ENTRY, DEFECT, mask=MASK, outlines=(box(0, 0, 2, 2),)), "exclude each other"),
        (Label(ENTRY, DEFECT, mask=np.zeros(SIZE, np.bool_)), "marks no pixel"),
        (Label(ENTRY, DEFECT, mask=np.zeros(SIZE, np.uint8)), "bool"),  # type: ignore[arg-type]  # a program's slip
        (Label(ENTRY, DEFECT, mask=np.zeros((2, 2, 3), np.bool_)), r"\[H, W\]"),
        (Label(ENTRY, DEFECT, outlines=(((0, 0), (1, 1)),)), "2 corners"),
        (Label(ENTRY, DEFECT, outlines=(((0, 0), (1, 1), (float("nan"), 2)),)), "pixels"),
        (Label(ENTRY, DEFECT, outlines=(((0, 0), (1, 1), (1e9, 2)),)), "pixels"),
        (Label(ENTRY, NORMAL, by="x" * 201), "201 characters"),
    ],
)
def test_label_that_cannot_be_right_is_refused(label: Label, why: str) -> None:
    with pytest.raises(LabelError, match=why):
        check_label(label)


def marked(label: Label) -> list[list[int]]:
    mask = label_mask(label, FRAME)
    assert mask is not None
    assert mask.shape == SIZE
    return np.argwhere(mask).tolist()  # type: ignore[no-any-return]  # numpy types it as Any


def test_box_marks_just_its_pixels() -> None:
    found = marked(Label(ENTRY, DEFECT, outlines=(box(1, 2, 2, 3),)))
    assert found == [[y, x] for y in (1, 2) for x in (2, 3, 4)]


def test_outlines_that_overlap_mark_both() -> None:
    found = marked(Label(ENTRY, DEFECT, outlines=(box(0, 0, 2, 2), box(1, 1, 2, 2))))
    assert len(found) == 7


def test_outline_is_cut_where_the_picture_ends() -> None:
    assert len(marked(Label(ENTRY, DEFECT, outlines=(box(4, 7, 90_000, 90_000),)))) == 4


def test_mask_of_the_verdict_is_taken_where_it_is_said_to_be_right() -> None:
    found = marked(Label(ENTRY, DEFECT, predicted=True))
    assert found == [[y, x] for y in (2, 3) for x in range(3, 8)]


def test_drawn_mask_is_given_as_it_is() -> None:
    assert marked(Label(ENTRY, DEFECT, mask=MASK)) == [[1, 2]]


@pytest.mark.parametrize("kind", LabelKind)
def test_label_without_a_place_marks_nothing(kind: LabelKind) -> None:
    assert label_mask(Label(ENTRY, kind), FRAME) is None


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (Label(ENTRY, DEFECT, mask=np.ones((9, 6), np.bool_)), r"9x6.*6x9"),
        (Label(ENTRY, DEFECT, outlines=(box(50, 50, 5, 5),)), "within the 6x9"),
        (Label(entry(1), NORMAL), "this is"),
    ],
)
def test_label_that_does_not_fit_its_frame_is_refused(label: Label, why: str) -> None:
    with pytest.raises(LabelError, match=why):
        label_mask(label, FRAME)


def test_mask_that_no_verdict_drew_cannot_be_right() -> None:
    plain = archived(ENTRY, masked=False)
    with pytest.raises(LabelError, match="draw the defect instead"):
        label_mask(Label(ENTRY, DEFECT, predicted=True), plain)
    damaged = dataclasses.replace(FRAME, verdict={**FRAME.verdict, "mask": {"size": [6, 9]}})
    with pytest.raises(LabelError, match="run lengths"):
        label_mask(Label(ENTRY, DEFECT, predicted=True), damaged)


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_mask_survives_its_run_lengths(mask: np.ndarray) -> None:
    runs = json.loads(json.dumps(run_lengths(mask)))
    assert np.array_equal(mask_of_runs(runs), mask)


@pytest.mark.parametrize(
    "runs",
    [
        None,
        {},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [9, -5]},
        {"size": [2, 2], "counts": [4.0]},
        {"size": [0, 2], "counts": []},
        {"size": [1 << 20, 1 << 20], "counts": [1 << 40]},
        {"size": [2, 2], "counts": "4"},
    ],
)
def test_run_lengths_of_no_mask_are_refused(runs: object) -> None:
    with pytest.raises(ForeignVerdict):
        mask_of_runs(runs)
