import contextlib
import zlib
from collections.abc import Callable
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.codecs import Codec
from pipeline.errors import ForeignVerdict, LabelError, UnreadableFrame, UnwritableJudgement
from pipeline.frames import Decision, EngineName, FrameMeta, Judgement, Region, Timings
from pipeline.wire import (
    FrameHeader,
    RingPlace,
    RolloutRecord,
    RolloutState,
    decode_control,
    decode_frame_header,
    decode_identity,
    decode_judgement,
    decode_known_meta,
    decode_report,
    decode_rollout_record,
    encode_control,
    encode_frame_header,
    encode_judgement,
    encode_rollout_record,
    pack_mask,
    unpack_mask,
)
from pipeline.wire.label import decode_label

names = st.text(max_size=50)
whole = st.integers(0, 2**62)
reals = st.floats(allow_nan=False, allow_infinity=False)
scales = st.floats(1e-6, 1e3)
metas = st.builds(
    FrameMeta, names, whole, names, whole, whole, st.none() | st.tuples(scales, scales)
)
places = st.builds(RingPlace, names, st.integers(0, 10**6), whole)
heads = st.builds(
    FrameHeader,
    metas,
    st.sampled_from(list(Codec)),
    st.tuples(st.integers(1, 8000), st.integers(1, 8000)),
    st.none() | places,
)
pixels_of_box = st.integers(0, 10**6)
plain_regions = st.builds(Region, *[pixels_of_box] * 5, reals)
mm_regions = st.builds(Region, *[pixels_of_box] * 5, reals, reals, reals, reals)
masks = st.none() | arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))
judgements = st.builds(
    Judgement,
    st.sampled_from([Decision.OK, Decision.NG]),
    reals,
    reals,
    reals,
    reals,
    st.lists(plain_regions | mm_regions, max_size=4).map(tuple),
    masks,
    st.builds(EngineName, names, names, names),
    st.builds(Timings, reals, reals, reals, st.integers(1, 99)),
    names,
    st.lists(st.integers(0, 10**6), max_size=3).map(tuple),
    st.lists(reals, max_size=3).map(tuple),
    st.lists(reals, max_size=16).map(tuple),
)

NOBODY = EngineName("model", "1", "0")
PLAIN = Judgement(
    Decision.OK, 0.1, 0.2, 0.5, 0.5, (), None, NOBODY, Timings(0.0, 0.0, 0.0, 1), "worker"
)


@given(heads)
def test_head_survives_the_wire(head: FrameHeader) -> None:
    packed = encode_frame_header(head)
    assert decode_frame_header(packed) == head
    identity = decode_identity(packed)
    assert (identity.camera, identity.seq) == (head.meta.camera, head.meta.seq)


@given(judgements)
def test_judgement_survives_the_wire(judgement: Judgement) -> None:
    came = decode_judgement(encode_judgement(judgement))
    for name in Judgement.__slots__:
        sent, got = getattr(judgement, name), getattr(came, name)
        assert np.array_equal(sent, got) if name == "mask" and sent is not None else sent == got


any_real = st.floats() | st.sampled_from([1e200, -1e308, float("inf"), float("nan")])
any_whole = st.integers(-(2**70), 2**70)
any_text = st.text(st.characters(exclude_categories=[]), max_size=250)
any_regions = st.builds(
    Region, *[any_whole] * 5, any_real, *[st.none() | any_real] * 3
) | st.builds(Region, *[pixels_of_box] * 5, reals, *[st.none() | any_real] * 3)
any_judgements = st.builds(
    Judgement,
    st.sampled_from(Decision),
    any_real,
    any_real,
    any_real,
    any_real,
    st.lists(any_regions, max_size=3).map(tuple),
    masks,
    st.builds(EngineName, any_text, names, names),
    st.builds(Timings, any_real, reals, reals, any_whole),
    any_text,
    st.lists(any_whole, max_size=3).map(tuple),
    st.lists(any_real, max_size=3).map(tuple),
    st.lists(reals, max_size=300).map(tuple),
)


@given(any_judgements)
def test_every_judgement_that_can_be_published_can_be_read(judgement: Judgement) -> None:
    try:
        packed = encode_judgement(judgement)
    except UnwritableJudgement:
        return
    assert encode_judgement(decode_judgement(packed)) == packed


@pytest.mark.parametrize("name", ["score", "normalised", "threshold", "pixel_threshold"])
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_judgement_with_what_is_no_number_is_not_published(name: str, number: float) -> None:
    with pytest.raises(UnwritableJudgement):
        encode_judgement(replace(PLAIN, **{name: number}))


def test_noisiest_mask_of_the_largest_picture_can_be_published(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 256, (8192, 1024), np.uint8)
    mask = np.unpackbits(bits, axis=1).astype(np.bool_)
    came = decode_judgement(encode_judgement(replace(PLAIN, mask=mask)))
    assert came.mask is not None
    assert np.array_equal(came.mask, mask)


@pytest.mark.parametrize("scale", [(1e200, 1.0), (1e160, 1e160), (1.0, 0.0), (-1.0, 1.0)])
def test_scale_whose_areas_are_no_numbers_is_refused_in_the_head(
    scale: tuple[float, float],
) -> None:
    meta = FrameMeta("cam", 1, "part", 2, 3, scale)
    packed = encode_frame_header(FrameHeader(meta, Codec.RAW, (4, 4)))
    with pytest.raises(UnreadableFrame, match="millimetres per pixel"):
        decode_frame_header(packed)
    assert decode_identity(packed).seq == 1


@given(heads, st.integers(2, 99))
def test_identity_in_a_head_of_a_later_version_is_read(head: FrameHeader, version: int) -> None:
    fields = msgpack.unpackb(encode_frame_header(head)) | {"v": version, "codec": "later"}
    identity = decode_identity(msgpack.packb(fields))
    assert (identity.camera, identity.seq) == (head.meta.camera, head.meta.seq)
    meta = decode_known_meta(msgpack.packb(fields))
    assert replace(head.meta, mm_per_pixel=None) == meta


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused_by_name(foreign: bytes) -> None:
    with pytest.raises(UnreadableFrame):
        decode_frame_header(foreign)
    with pytest.raises(ForeignVerdict):
        decode_judgement(foreign)
    with pytest.raises(UnreadableFrame):
        decode_control(foreign)
    with pytest.raises(UnreadableFrame):
        decode_rollout_record(foreign)


@given(heads, st.integers(0, 200))
def test_truncated_head_is_refused(head: FrameHeader, cut: int) -> None:
    packed = encode_frame_header(head)
    with pytest.raises(UnreadableFrame):
        decode_frame_header(packed[: min(cut, len(packed) - 1)])


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | reals | names | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("camera", "seq", "part", "captured_ns", "deadline_ns", "codec", "shape", "mm", "ring")


@given(heads, st.sampled_from(FIELDS), anything)
def test_any_value_in_any_field_of_a_head_is_read_or_refused(
    head: FrameHeader, field: str, value: object
) -> None:
    fields = msgpack.unpackb(encode_frame_header(head)) | {field: value}
    with contextlib.suppress(UnreadableFrame):
        assert isinstance(decode_frame_header(msgpack.packb(fields)), FrameHeader)


JUDGED = ("judged", "score", "regions", "mask", "engine", "timings", "nearest", "distance")


@given(judgements, st.sampled_from(JUDGED), anything)
def test_any_value_in_any_field_of_a_judgement_is_read_or_refused(
    judgement: Judgement, field: str, value: object
) -> None:
    fields = msgpack.unpackb(encode_judgement(judgement)) | {field: value}
    with contextlib.suppress(ForeignVerdict):
        assert isinstance(decode_judgement(msgpack.packb(fields)), Judgement)


def test_head_of_another_schema_version_says_what_to_do() -> None:
    with pytest.raises(UnreadableFrame, match=r"schema version 2.*same release"):
        decode_frame_header(msgpack.packb({"v": 2}))


def nested(depth: int) -> list[object]:
    """Lists in each other."""
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


DECODERS = (
    decode_frame_header,
    decode_identity,
    decode_judgement,
    decode_label,
    decode_control,
    decode_report,
    decode_rollout_record,
)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("depth", [20, 500, 1000, 1020])
def test_value_nested_a_thousand_times_is_refused_or_ignored(
    decode: Callable[[bytes], object], depth: int
) -> None:
    fields = ("codec", "shape", "mm", "ring", "cells", "regions", "size", "timings", "engine")
    fields += ("standing", "outline", "polygon", "mask", "judged", "action", "c", "state", "why")
    for name in ("v", *fields):
        packed = msgpack.packb({"v": 1, "camera": "c", "seq": 1, name: nested(depth)})
        with contextlib.suppress(UnreadableFrame, ForeignVerdict, LabelError):
            decode(packed)


def test_new_fields_are_ignored() -> None:
    meta = FrameMeta("cam", 1, "part", 2, 3)
    packed = encode_frame_header(FrameHeader(meta, Codec.RAW, (4, 4)))
    grown = msgpack.packb(msgpack.unpackb(packed) | {"colour": "blue"})
    assert decode_frame_header(grown).meta == meta


def test_picture_of_30000_by_30000_is_refused_in_the_head() -> None:
    meta = FrameMeta("cam", 1, "part", 2, 3)
    with pytest.raises(UnreadableFrame, match="30000x30000"):
        decode_frame_header(encode_frame_header(FrameHeader(meta, Codec.PNG, (30000, 30000))))


@given(arrays(np.bool_, st.tuples(st.integers(1, 70), st.integers(1, 70))))
def test_mask_survives_packing(mask: np.ndarray) -> None:
    assert np.array_equal(unpack_mask(pack_mask(mask), *mask.shape), mask)


def test_mask_that_inflates_beyond_its_size_is_refused() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000)
    with pytest.raises(ForeignVerdict, match="needs 8 bytes"):
        unpack_mask(bomb, 8, 8)


def test_control_message_survives_the_wire() -> None:
    assert decode_control(encode_control("threshold", image=0.4, engines=["a"])) == {
        "v": 1,
        "kind": "threshold",
        "image": 0.4,
        "engines": ["a"],
    }


trials = st.builds(
    RolloutRecord,
    names,
    names,
    st.sampled_from(RolloutState),
    names,
    st.text(st.characters(exclude_categories=[]), max_size=400),
    st.integers(1, 99),
    st.integers(0, 1 << 60),
)


@given(trials)
def test_trial_survives_the_wire_with_its_reason_cut(trial: RolloutRecord) -> None:
    why = trial.why[:200].encode(errors="replace").decode()
    assert decode_rollout_record(encode_rollout_record(trial)) == replace(trial, why=why)


def test_trial_that_stands_nowhere_is_refused() -> None:
    packed = encode_rollout_record(RolloutRecord("v1", "today", RolloutState.HELD, "worker"))
    with pytest.raises(UnreadableFrame, match="hexd"):
        decode_rollout_record(packed.replace(b"held", b"hexd"))


def test_judgement_of_an_earlier_release_has_no_cells() -> None:
    fields = msgpack.unpackb(encode_judgement(PLAIN))
    del fields["cells"]
    assert decode_judgement(msgpack.packb(fields)) == PLAIN


@pytest.mark.parametrize("cells", [[0.1] * 257, ["x"], [True], 3, [float("nan")]])
def test_foreign_cells_are_refused(cells: object) -> None:
    fields = msgpack.unpackb(encode_judgement(PLAIN)) | {"cells": cells}
    with pytest.raises(ForeignVerdict):
        decode_judgement(msgpack.packb(fields))
