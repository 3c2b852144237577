"""docs/sdk.md lists the keys and fields that are in the code, for programs in other languages."""

import re

import msgpack
import numpy as np
import pytest
from fakes.places import ROOT

import pipeline.streams.keys as glossary
from pipeline.codecs import Codec
from pipeline.frames import (
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
from pipeline.streams.result_reader import _KNOWN_FIELDS
from pipeline.wire import FrameHeader, encode_frame_header, encode_judgement
from pipeline.wire.label import encode_label

PAGE = (ROOT / "docs" / "sdk.md").read_text("utf-8")
JUDGEMENT = Judgement(
    judged=Decision.NG,
    score=0.7,
    normalised=0.6,
    threshold=0.5,
    pixel_threshold=0.5,
    regions=(Region(2, 3, 3, 3, 9, 0.9, 1.0, 1.0, 1.0),),
    mask=np.ones((8, 8), np.bool_),
    engine=EngineName("model", "1", "0" * 64),
    timings=Timings(1.0, 2.0, 3.0, 4),
    worker="worker",
)
MESSAGES = {
    "field of `m`": encode_frame_header(
        FrameHeader(FrameMeta("camera", 1, "part", 1, 2), Codec.RAW, (8, 8))
    ),
    "field of `j`": encode_judgement(JUDGEMENT),
    "field of a label": encode_label(Label("1-1", LabelKind.DEFECT, "dent", by="anna")),
}


def table(head: str) -> list[str]:
    """Return the rows of the table with this heading in its first column."""
    rows = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows, head
    return rows


def first_names(head: str) -> set[str]:
    return {name for row in table(head) for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_page_lists_the_keys_of_the_glossary() -> None:
    assert glossary.__doc__
    keys = set(re.findall(r"^\{line\}:([\w:]+)", glossary.__doc__, re.MULTILINE))
    assert first_names("key") == keys


def test_page_gives_each_key_its_type() -> None:
    assert glossary.__doc__
    types = dict(re.findall(r"^\{line\}:([\w:]+)\s+(\w+)", glossary.__doc__, re.MULTILINE))
    listed = {row.split("|")[1].strip(" `"): row.split("|")[2].strip() for row in table("key")}
    assert listed == types


@pytest.mark.parametrize("head", MESSAGES)
def test_page_lists_the_fields_of_a_message(head: str) -> None:
    assert first_names(head) == msgpack.unpackb(MESSAGES[head]).keys() - {"v"}


def test_page_lists_the_fields_of_a_region() -> None:
    (row,) = (row for row in table("field of `j`") if "`regions`" in row)
    region = msgpack.unpackb(MESSAGES["field of `j`"])["regions"][0]
    assert set(re.findall(r"`(\w+)`", row)) - {"regions"} == region.keys()


def test_page_lists_the_fields_of_a_verdict() -> None:
    assert first_names("field") == {name.decode() for name in _KNOWN_FIELDS}


def test_page_lists_every_reason() -> None:
    rows = PAGE.partition("| published `k` |")[2].partition("\n\n")[0]
    assert [reason for reason in Reason if f"`{reason}`" not in rows] == []
