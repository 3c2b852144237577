import dataclasses
import json
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codecs import Codec
from pipeline.frames import (
    PUBLISHED_AS,
    Decision,
    EngineName,
    FrameMeta,
    Judgement,
    Reason,
    Region,
    Timings,
)
from pipeline.streams.result_reader import Result
from pipeline.verdicts import VerdictGone, read_verdict, verdict_fields
from pipeline.wire import FrameHeader, encode_frame_header, encode_judgement

META = FrameMeta("cam", 7, "part-7", 1, 2, (0.5, 0.25))
HEAD = encode_frame_header(FrameHeader(META, Codec.RAW, (4, 4)))
MASK = np.eye(4, dtype=np.bool_)
JUDGEMENT = Judgement(
    judged=Decision.NG,
    score=0.8,
    normalised=0.7,
    threshold=0.5,
    pixel_threshold=0.5,
    regions=(Region(0, 0, 4, 4, 4, 0.9, 0.5, 2.0, 1.0), Region(1, 1, 1, 1, 1, 1.0)),
    mask=MASK,
    engine=EngineName("protoad", "1", "0" * 64),
    timings=Timings(1.0, 2.0, 3.0, 4),
    worker="worker",
    nearest=(3, 1),
    distance=(0.5, 2.0),
)
PACKED = encode_judgement(JUDGEMENT)
GOOD = Result("2-0", "NG", "1-0", HEAD, PACKED)

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text("ab")
values = st.recursive(
    plain | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=6,
)


def damaged(packed: bytes, field: str, value: object) -> bytes:
    fields: dict[str, Any] = msgpack.unpackb(packed)
    return bytes(msgpack.packb({**fields, field: value}))


def test_verdict_says_all_that_the_stream_holds() -> None:
    verdict = read_verdict("line", GOOD)
    assert (verdict.meta, verdict.decision, verdict.reason) == (META, Decision.NG, None)
    assert (verdict.entry_id, verdict.result_id) == ("1-0", "2-0")
    judgement = verdict.judgement
    assert judgement is not None
    assert judgement.mask is not None
    assert (judgement.mask == MASK).all()
    assert dataclasses.replace(judgement, mask=None) == dataclasses.replace(JUDGEMENT, mask=None)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_an_unknown(reason: Reason) -> None:
    verdict = read_verdict("line", dataclasses.replace(GOOD, answer=reason.value))
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, reason)
    assert verdict.judgement is not None


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        ({"answer": "OK"}, "its judgement says NG"),
        ({"answer": "UNKNOWN"}, "answer 'UNKNOWN'"),
        ({"answer": "PASSED"}, "answer 'PASSED'"),
        ({"header": damaged(HEAD, "codec", "avif")}, "codec 'avif'"),
        ({"header": damaged(HEAD, "shape", [9000, 9000])}, "9000x9000"),
        ({"header": damaged(HEAD, "v", 2)}, "schema version 2"),
        ({"header": damaged(HEAD, "mm", [1e200, 1.0])}, "millimetres per pixel"),
        ({"header": damaged(HEAD, "part", 7)}, "'part'"),
        ({"judgement": PACKED[:-1]}, "judgement: not msgpack"),
        ({"judgement": damaged(PACKED, "v", 2)}, "judgement: schema version 2"),
        ({"judgement": damaged(PACKED, "timings", [1.0, float("nan"), 1.0, 1])}, "'timings'"),
    ],
)
def test_verdict_of_a_known_frame_that_cannot_be_read_is_foreign(
    change: dict[str, Any], unread: str
) -> None:
    verdict = read_verdict("line", dataclasses.replace(GOOD, **change))
    assert (verdict.meta.camera, verdict.meta.seq) == ("cam", 7)
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, Reason.FOREIGN)
    assert verdict.answer == change.get("answer", "NG")
    assert unread in verdict.unread


@pytest.mark.parametrize("header", [b"", HEAD[:-1], b"\x80", damaged(HEAD, "seq", -1)])
@pytest.mark.parametrize("answer", ["OK", "NG", "PASSED", ""])
def test_verdict_of_nobody_knows_which_frame_is_foreign_and_names_none(
    header: bytes, answer: str
) -> None:
    verdict = read_verdict("line", dataclasses.replace(GOOD, header=header, answer=answer))
    assert (verdict.meta.camera, verdict.meta.seq, verdict.meta.part_id) == ("", -1, "")
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, Reason.FOREIGN)
    assert verdict.unread


@pytest.mark.parametrize("change", [{"header": b""}, {"header": damaged(HEAD, "codec", "avif")}])
def test_published_reason_is_kept_though_the_rest_cannot_be_read(change: dict[str, Any]) -> None:
    verdict = read_verdict("line", dataclasses.replace(GOOD, answer="LATE", **change))
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, Reason.LATE)


def test_reason_of_a_later_release_is_passed_on_beside_the_word_that_stands_for_it() -> None:
    result = dataclasses.replace(GOOD, answer="ENGINE", reason="DISAGREED", extra={"z": b"1"})
    verdict = read_verdict("line", result)
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, Reason.ENGINE)
    assert (verdict.answer, verdict.detail, verdict.extra) == ("ENGINE", "DISAGREED", {"z": b"1"})
    assert verdict.unread == ""


@pytest.mark.parametrize("reason", PUBLISHED_AS)
def test_reason_with_a_name_of_its_own_is_told_apart(reason: Reason) -> None:
    answer = PUBLISHED_AS[reason].value
    verdict = read_verdict("line", dataclasses.replace(GOOD, answer=answer, reason=reason.value))
    assert (verdict.decision, verdict.reason) == (Decision.UNKNOWN, reason)


def test_reason_never_turns_a_verdict_into_another() -> None:
    verdict = read_verdict("line", dataclasses.replace(GOOD, reason="LATE"))
    assert (verdict.decision, verdict.reason, verdict.detail) == (Decision.NG, None, "LATE")


def test_verdict_that_is_no_longer_kept_is_refused() -> None:
    with pytest.raises(VerdictGone):
        read_verdict("line", Result("2-0", "", "", b"", None, gone=True))


@given(st.sampled_from(sorted(msgpack.unpackb(PACKED))), values)
def test_no_field_of_a_judgement_breaks_a_program(field: str, value: object) -> None:
    result = dataclasses.replace(GOOD, judgement=damaged(PACKED, field, value))
    check_readable_or_foreign(result)


@given(st.sampled_from(["top", "area_px", "peak", "area_mm2", "height_mm", "other"]), values)
def test_no_field_of_a_region_breaks_a_program(field: str, value: object) -> None:
    region = {**msgpack.unpackb(PACKED)["regions"][0], field: value}
    check_readable_or_foreign(
        dataclasses.replace(GOOD, judgement=damaged(PACKED, "regions", [region]))
    )


@given(st.sampled_from(sorted(msgpack.unpackb(HEAD))), values)
def test_no_field_of_a_head_breaks_a_program(field: str, value: object) -> None:
    check_readable_or_foreign(dataclasses.replace(GOOD, header=damaged(HEAD, field, value)))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_break_a_program(head: bytes, judgement: bytes) -> None:
    check_readable_or_foreign(dataclasses.replace(GOOD, header=head, judgement=judgement))


def check_readable_or_foreign(result: Result) -> None:
    verdict = read_verdict("line", result)
    assert not verdict.unread or verdict.decision is Decision.UNKNOWN
    json.dumps(verdict_fields(verdict, with_mask=True), allow_nan=False)
