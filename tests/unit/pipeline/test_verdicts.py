import dataclasses
import json
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codecs import Codec
from pipeline.errors import ForeignVerdict
from pipeline.frames import Decision, EngineName, FrameMeta, Judgement, Reason, Region, Timings
from pipeline.streams.result_reader import Result
from pipeline.verdicts import NamelessVerdict, VerdictGone, read_verdict, verdict_fields
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
    ("change", "kind"),
    [
        ({"answer": "OK"}, ForeignVerdict),  # its judgement says NG
        ({"answer": "UNKNOWN"}, ForeignVerdict),
        ({"header": b""}, NamelessVerdict),
        ({"header": HEAD[:-1]}, NamelessVerdict),
        ({"judgement": PACKED[:-1]}, ForeignVerdict),
        ({"judgement": damaged(PACKED, "v", 2)}, ForeignVerdict),
        ({"judgement": damaged(PACKED, "timings", [1.0, float("nan"), 1.0, 1])}, ForeignVerdict),
        ({"answer": "", "header": b"", "entry_id": "", "judgement": None}, VerdictGone),
    ],
)
def test_what_is_no_verdict_is_refused(change: dict[str, Any], kind: type[ForeignVerdict]) -> None:
    with pytest.raises(ForeignVerdict) as raised:
        read_verdict("line", dataclasses.replace(GOOD, **change))
    assert type(raised.value) is kind


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
    try:
        verdict = read_verdict("line", result)
    except ForeignVerdict:
        return
    json.dumps(verdict_fields(verdict, with_mask=True), allow_nan=False)
