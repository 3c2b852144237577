"""Messages and scripts of the first release beside those of this one, both ways."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from pipeline.codecs import Codec
from pipeline.errors import ForeignVerdict
from pipeline.frames import (
    PUBLISHED_AS,
    Decision,
    EngineName,
    FrameMeta,
    Judgement,
    Label,
    LabelKind,
    Reason,
    Region,
    Timings,
)
from pipeline.streams.result_reader import Result
from pipeline.verdicts import read_verdict
from pipeline.wire import (
    FrameHeader,
    RingPlace,
    decode_control,
    decode_frame_header,
    decode_judgement,
    encode_control,
    encode_frame_header,
    encode_judgement,
)
from pipeline.wire.label import decode_label, encode_label

RECORDED = json.loads((Path(__file__).parent / "messages_of_release_1.json").read_text("utf-8"))
OLD = {name: bytes.fromhex(text) for name, text in RECORDED["messages"].items()}
OLD_WORDS = {"OK", "NG", "LATE", "SHED", "UNREADABLE", "ENGINE"}

META = FrameMeta("cam-1", 7, "part-7", 1_700_000_000_000_000_000, 1_700_000_002_000_000_000)
SCALED = FrameMeta("cam-1", 8, "part-8", 1, 2, (0.5, 0.25))
MASK = np.zeros((8, 8), np.bool_)
MASK[2:5, 3:6] = True
ENGINE = EngineName("protoad", "1.0", "0" * 64)
TIMINGS = Timings(1.5, 2.5, 3.5, 2)
GOOD = Judgement(Decision.OK, 0.25, 0.3, 0.5, 0.5, (), None, ENGINE, TIMINGS, "worker-1")
REGIONS = (Region(2, 3, 3, 3, 9, 0.9), Region(2, 3, 3, 3, 9, 0.9, 0.5, 2.0, 1.0))
BAD = Judgement(
    Decision.NG,
    0.75,
    0.6,
    0.5,
    0.5,
    REGIONS,
    MASK,
    ENGINE,
    TIMINGS,
    "worker-1",
    (3, 1),
    (0.5, 2.0),
    (0.1,) * 16,
)
LABEL = Label("1-1", LabelKind.DEFECT, "scratch", MASK, predicted=False, by="plc", at_ns=5)
HEADERS = {
    "header": FrameHeader(META, Codec.RAW, (8, 8)),
    "header_with_scale": FrameHeader(SCALED, Codec.JPEG, (256, 128)),
    "header_of_ring": FrameHeader(META, Codec.RING, (8, 8), RingPlace("prn-ring", 3, 9)),
}
JUDGEMENTS = {"judgement_ok": GOOD, "judgement_ng": BAD}
NEW = {
    **{name: encode_frame_header(header) for name, header in HEADERS.items()},
    **{name: encode_judgement(judgement) for name, judgement in JUDGEMENTS.items()},
    "label": encode_label(LABEL),
    "control": encode_control("threshold", image=0.4, engines=["0" * 64]),
}


def kinds(value: Any) -> Any:  # noqa: ANN401  # whatever msgpack holds
    """Return the types in a message, field by field."""
    if isinstance(value, dict):
        return {name: kinds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kinds(inner) for inner in value]
    return type(value).__name__


def test_every_recorded_message_has_a_counterpart() -> None:
    assert OLD.keys() == NEW.keys()


@pytest.mark.parametrize("name", OLD)
def test_program_of_the_first_release_finds_every_field_that_it_needs(name: str) -> None:
    before, now = msgpack.unpackb(OLD[name]), msgpack.unpackb(NEW[name])
    assert now["v"] == before["v"] == 1
    assert {field: kinds(now.get(field)) for field in before} == kinds(before)
    assert {field: now[field] for field in before} == before


@pytest.mark.parametrize("name", HEADERS)
def test_header_of_the_first_release_is_read(name: str) -> None:
    assert decode_frame_header(OLD[name]) == HEADERS[name]


def same(one: Judgement | Label, other: Judgement | Label) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))  # type: ignore[arg-type]
        if name == "mask"
        else getattr(one, name) == getattr(other, name)
        for name in type(one).__slots__
    )


@pytest.mark.parametrize("name", JUDGEMENTS)
def test_judgement_of_the_first_release_is_read(name: str) -> None:
    assert same(decode_judgement(OLD[name]), JUDGEMENTS[name])


def test_label_and_control_message_of_the_first_release_are_read() -> None:
    assert same(decode_label(OLD["label"]), LABEL)
    assert decode_control(OLD["control"])["image"] == 0.4


def test_verdict_of_the_first_release_is_read_whole() -> None:
    """It has neither number nor times nor reason."""
    result = Result("2-0", "NG", "1-0", OLD["header"], OLD["judgement_ng"])
    verdict = read_verdict("line", result)
    assert (verdict.decision, verdict.meta, verdict.unread) == (Decision.NG, META, "")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_published_under_a_word_of_the_first_release(reason: Reason) -> None:
    assert PUBLISHED_AS.get(reason, reason).value in OLD_WORDS


def test_zones_are_added_to_a_judgement_and_change_nothing_else() -> None:
    regions = (dataclasses.replace(REGIONS[0], zone="seal"), REGIONS[1])
    zoned = dataclasses.replace(BAD, regions=regions, zone="seal", zones="c" * 64)
    packed = encode_judgement(zoned)
    assert same(decode_judgement(packed), zoned)
    fields, plain = msgpack.unpackb(packed), msgpack.unpackb(NEW["judgement_ng"])
    assert (fields.pop("zone"), fields.pop("zones")) == ("seal", "c" * 64)
    assert fields["regions"][0].pop("zone") == "seal"
    assert fields == plain


@pytest.mark.parametrize("bad", [7, "x" * 201, None])
def test_foreign_names_of_zones_are_refused(bad: object) -> None:
    fields = msgpack.unpackb(NEW["judgement_ng"])
    for changed in (
        {**fields, "zone": bad},
        {**fields, "zones": bad},
        {**fields, "regions": [{**fields["regions"][0], "zone": bad}]},
    ):
        with pytest.raises(ForeignVerdict, match="name of a zone"):
            decode_judgement(msgpack.packb(changed))
