"""The register map: one table for the server, the CSV export, the fake PLC and the docs.

A block of registers per camera, 1000 apart. Big endian; the order of the two words of a 32-bit
value is a setting. Function codes 3 and 4 read the same registers.
"""

import csv
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.bridge.slots import SLOTS

MAP_VERSION = 1
CAMERA_STRIDE = 1000
MOST_CAMERAS = 64
PATTERN = 0x0A0B0C0D
PATTERN_FLOAT = 12.5
NO_SLOT = 0xFFFF
SCORE_SCALE = 10_000
SLOT_START, SLOT_REGISTERS = 16, 12
READ_REGISTERS = SLOT_START + SLOTS * SLOT_REGISTERS  # 112: one read
PLC_START, PLC_WRITABLE, PLC_REGISTERS = 200, 6, 8
DETAIL_START = 300
_U16, _U32 = 1 << 16, 1 << 32
Value = int | float | str


class WordOrder(StrEnum):
    """Which word of a 32-bit value comes first."""

    ABCD = "abcd"  # the high word, as most PLCs have it
    CDAB = "cdab"  # the low word


class Kind(StrEnum):
    """What stands in the registers of a field."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    F32 = "f32"
    TEXT = "text"  # ASCII, two characters a register, the first in the high byte, zeros at the end


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the map."""

    offset: int  # from the start of a camera's block
    registers: int
    kind: Kind
    name: str
    meaning: str

    @property
    def writable(self) -> bool:
        """Return whether the PLC writes it."""
        return PLC_START <= self.offset < PLC_START + PLC_WRITABLE


class StatusBit(StrEnum):
    """The bits of the status register, lowest first."""

    READY = "ready"
    BUSY = "busy"
    VALID = "valid"
    TOGGLE = "toggle"
    OVERRUN = "overrun"
    DEGRADED = "degraded"
    PAUSED = "paused"
    ERROR = "error"
    PLC_LOST = "plc_lost"
    STOP = "stop"


_HEADER = (
    Field(0, 1, Kind.U16, "heartbeat", "rises every 100 ms while Redis, workers and bridge work"),
    Field(1, 1, Kind.U16, "map_version", "version of this map: 1"),
    Field(2, 2, Kind.U32, "newest_trigger_id", "trigger id of the newest verdict shown"),
    Field(4, 1, Kind.U16, "status", "bits, see the table of status bits"),
    Field(5, 1, Kind.U16, "epoch", "changes when the camera's numbering restarts; 0: no verdict"),
    Field(6, 2, Kind.U32, "count_ok", "OK shown since the bridge started"),
    Field(8, 2, Kind.U32, "count_ng", "NG shown since the bridge started"),
    Field(10, 2, Kind.U32, "count_unknown", "UNKNOWN shown since the bridge started"),
    Field(12, 2, Kind.U32, "count_undelivered", "verdicts that no one read before their deadline"),
    Field(14, 1, Kind.U16, "oldest_slot", "slot of the oldest live verdict, 0..7; 65535: none"),
    Field(15, 1, Kind.U16, "error_code", "0 none, 1 Redis away, 2 no worker"),
)
SLOT_FIELDS = (
    Field(0, 2, Kind.U32, "trigger_id", "the camera's trigger number, modulo 2^32"),
    Field(2, 1, Kind.U16, "code", "low byte: 0 nothing, 1 OK, 2 NG, 3 UNKNOWN; high byte: reason"),
    Field(3, 1, Kind.U16, "score", "normalised score x 10,000; 5,000 at the threshold"),
    Field(4, 1, Kind.U16, "age_ms", "since the picture was taken, at most 65535"),
    Field(5, 1, Kind.I16, "ms_left", "until the deadline less the margin; 0 or less: too late"),
    Field(6, 6, Kind.TEXT, "part_id", "first 12 characters of the part id"),
)
_PLC = (
    Field(200, 2, Kind.U32, "ack_trigger_id", "acknowledges this one and all before"),
    Field(202, 1, Kind.U16, "ack_epoch", "its epoch; writing it makes the acknowledgement"),
    Field(203, 1, Kind.U16, "plc_heartbeat", "any value that changes"),
    Field(204, 1, Kind.U16, "command", "0 none, 1 clear the stop signal"),
    Field(205, 1, Kind.U16, "command_argument", "not used yet"),
    Field(206, 1, Kind.U16, "command_echo", "the command that was carried out; 0 after 0"),
    Field(207, 1, Kind.U16, "command_result", "0 none, 1 done, 2 unknown command"),
)
_DETAIL = (
    Field(300, 2, Kind.U32, "pattern_u32", "always 0x0A0B0C0D = 168,496,141: checks word order"),
    Field(302, 2, Kind.F32, "pattern_f32", "always 12.5: checks word order"),
    Field(304, 2, Kind.U32, "detail_trigger_id", "of the newest verdict; not for a gate"),
    Field(306, 2, Kind.F32, "raw_score", "its raw score"),
    Field(308, 2, Kind.F32, "threshold", "on the raw score"),
    Field(310, 1, Kind.U16, "regions", "number of regions"),
    Field(311, 2, Kind.F32, "largest_area_mm2", "area of the largest region; 0: not calibrated"),
    Field(313, 16, Kind.TEXT, "engine", "model and version"),
    Field(329, 32, Kind.TEXT, "detail_part_id", "first 64 characters of the part id"),
)
END = 361  # first register behind a camera's block


def slot_name(at: int, name: str) -> str:
    """Return the name of a field of a slot."""
    return f"slot{at}_{name}"


def _all_fields() -> Iterator[Field]:
    yield from _HEADER
    for at in range(SLOTS):
        start = SLOT_START + at * SLOT_REGISTERS
        for field in SLOT_FIELDS:
            name = slot_name(at, field.name)
            yield Field(start + field.offset, field.registers, field.kind, name, field.meaning)
    yield from _PLC
    yield from _DETAIL


FIELDS: tuple[Field, ...] = tuple(_all_fields())
STATUS_BITS = tuple(StatusBit)


def status_word(bits: set[StatusBit]) -> int:
    """Return the status register."""
    return sum(1 << at for at, bit in enumerate(STATUS_BITS) if bit in bits)


def status_bits(word: int) -> set[StatusBit]:
    """Return the bits that are set in a status register."""
    return {bit for at, bit in enumerate(STATUS_BITS) if word >> at & 1}


def encode(values: Mapping[str, Value], order: WordOrder) -> list[int]:
    """Return the registers of a camera's block, 0..END-1; what is not given is zero."""
    registers = [0] * END
    for field in FIELDS:
        if field.name in values:
            packed = _packed(field, values[field.name], order)
            registers[field.offset : field.offset + field.registers] = packed
    return registers


def decode(registers: Sequence[int], order: WordOrder, start: int = 0) -> dict[str, Value]:
    """Return the fields that lie wholly within some registers.

    Args:
        registers: as they were read.
        order: of the words.
        start: offset of the first register in the camera's block.
    """
    values: dict[str, Value] = {}
    for field in FIELDS:
        at = field.offset - start
        if at >= 0 and at + field.registers <= len(registers):
            values[field.name] = _unpacked(field, registers[at : at + field.registers], order)
    return values


def decode_words(words: Sequence[int], order: WordOrder) -> int:
    """Return the unsigned 32-bit value of two registers."""
    high, low = _ordered(words, order)
    return high << 16 | low


def encode_words(number: int, order: WordOrder) -> list[int]:
    """Return the two registers of an unsigned 32-bit value."""
    return _ordered([number >> 16 & 0xFFFF, number & 0xFFFF], order)


def _ordered(words: Sequence[int], order: WordOrder) -> list[int]:
    return list(words) if order is WordOrder.ABCD else list(reversed(words))


def _packed(field: Field, value: Value, order: WordOrder) -> list[int]:
    if field.kind is Kind.TEXT:
        raw = str(value).encode("ascii", "replace")[: 2 * field.registers]
        return list(struct.unpack(f">{field.registers}H", raw.ljust(2 * field.registers, b"\0")))
    if field.kind is Kind.U32:
        return encode_words(int(value) % _U32, order)
    if field.kind is Kind.F32:
        return _ordered(struct.unpack(">2H", struct.pack(">f", float(value))), order)
    return [int(value) % _U16]


def _unpacked(field: Field, words: Sequence[int], order: WordOrder) -> Value:
    if field.kind is Kind.TEXT:
        return struct.pack(f">{len(words)}H", *words).rstrip(b"\0").decode("ascii", "replace")
    if field.kind is Kind.U32:
        return decode_words(words, order)
    if field.kind is Kind.F32:
        (number,) = struct.unpack(">f", struct.pack(">2H", *_ordered(words, order)))
        return float(number)
    if field.kind is Kind.I16:
        return words[0] - _U16 if words[0] >= _U16 // 2 else words[0]
    return words[0]


def csv_map(cameras: Sequence[str], order: WordOrder) -> str:
    """Return the map of all cameras as CSV, for the symbol table of a PLC tool."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["camera", "address", "registers", "type", "access", "name", "meaning"])
    for at, camera in enumerate(cameras):
        for field in FIELDS:
            kind = f"{field.kind} {order}" if field.kind in {Kind.U32, Kind.F32} else field.kind
            access = "read/write" if field.writable else "read"
            address = at * CAMERA_STRIDE + field.offset
            writer.writerow(
                [camera, address, field.registers, kind, access, field.name, field.meaning]
            )
    return text.getvalue()


def markdown_map() -> str:
    """Return the map of one camera as it stands in the docs; the eight slots are one table."""
    parts = []
    tables = {"Header": _HEADER, "Slot": SLOT_FIELDS, "PLC": _PLC, "Detail": _DETAIL}
    for title, fields in tables.items():
        rows = [f"| {title} | type | name | meaning |", "|---|---|---|---|"]
        for field in fields:
            last = field.offset + field.registers - 1
            place = f"{field.offset}" if field.registers == 1 else f"{field.offset}-{last}"
            name = f"`{field.name}`" + (" (PLC writes)" if field.writable else "")
            rows.append(f"| {place} | {field.kind} | {name} | {field.meaning} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)
