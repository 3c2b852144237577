import csv
import io
import math
import struct
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.modbus import layout
from pipeline.bridge.modbus.layout import Kind, StatusBit, WordOrder
from pipeline.bridge.modbus.tcp import is_allowed

DOCS = Path(__file__).parents[5] / "docs" / "bridges.md"
VALUES = {
    Kind.U16: st.integers(0, 65_535),
    Kind.I16: st.integers(-32_768, 32_767),
    Kind.U32: st.integers(0, (1 << 32) - 1),
    Kind.F32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Kind.TEXT: st.text("abcdefgh-_.0123456789", max_size=12),
}


def test_fields_stand_apart_and_the_verdicts_fit_one_read() -> None:
    taken = [
        at for field in layout.FIELDS for at in range(field.offset, field.offset + field.registers)
    ]
    assert len(taken) == len(set(taken))
    assert max(taken) == layout.END - 1 < layout.CAMERA_STRIDE
    assert [at for at in taken if at < layout.PLC_START] == list(range(layout.READ_REGISTERS))
    assert layout.READ_REGISTERS == 112


def test_plc_writes_the_first_six_registers_of_its_block_only() -> None:
    writable = [field for field in layout.FIELDS if field.writable]
    assert sum(field.registers for field in writable) == layout.PLC_WRITABLE
    assert min(field.offset for field in writable) == layout.PLC_START


@given(st.data(), st.sampled_from(WordOrder))
def test_every_field_is_read_as_it_was_written(data: st.DataObject, order: WordOrder) -> None:
    values = {field.name: data.draw(VALUES[field.kind]) for field in layout.FIELDS}
    assert layout.decode(layout.encode(values, order), order) == values


def test_word_orders_are_the_high_word_first_and_last() -> None:
    assert layout.encode({"pattern_u32": layout.PATTERN}, WordOrder.ABCD)[300:302] == [
        0x0A0B,
        0x0C0D,
    ]
    assert layout.encode({"pattern_u32": layout.PATTERN}, WordOrder.CDAB)[300:302] == [
        0x0C0D,
        0x0A0B,
    ]
    registers = layout.encode({"pattern_f32": 12.5}, WordOrder.ABCD)[302:304]
    assert struct.pack(">2H", *registers) == struct.pack(">f", 12.5)


@pytest.mark.parametrize("order", list(WordOrder))
def test_pattern_read_in_the_other_order_is_another_number(order: WordOrder) -> None:
    other = next(choice for choice in WordOrder if choice is not order)
    registers = layout.encode(
        {"pattern_u32": layout.PATTERN, "pattern_f32": layout.PATTERN_FLOAT}, order
    )
    misread = layout.decode(registers, other)
    assert misread["pattern_u32"] != layout.PATTERN
    assert not math.isclose(float(misread["pattern_f32"]), layout.PATTERN_FLOAT)


@given(st.sets(st.sampled_from(StatusBit)))
def test_status_bits_survive_their_register(bits: set[StatusBit]) -> None:
    assert layout.status_bits(layout.status_word(bits)) == bits


def test_csv_names_every_register_of_every_camera() -> None:
    rows = list(csv.DictReader(io.StringIO(layout.csv_map(["a", "b"], WordOrder.CDAB))))
    assert len(rows) == 2 * len(layout.FIELDS)
    (row,) = [row for row in rows if (row["camera"], row["name"]) == ("b", "slot0_trigger_id")]
    assert (row["address"], row["type"], row["access"]) == ("1016", "u32 cdab", "read")


def test_map_in_the_docs_is_the_map_that_is_served() -> None:
    page = DOCS.read_text("utf-8")
    assert layout.markdown_map() in page
    for at, bit in enumerate(StatusBit):
        assert f"| {at} | `{bit}` |" in page


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.1.3.3", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("plc", False),
    ],
)
def test_only_this_machine_and_allowed_networks_may_connect(peer: str, *, allowed: bool) -> None:
    assert is_allowed(peer, [ip_network("10.1.2.0/24")]) is allowed
