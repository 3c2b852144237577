"""The tags of one camera: names, types and order, from the register map of all gates.

Flat scalars, which every PLC's client can read. They are written in this order: a tag that tells of
a new verdict comes after all that belongs to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.bridge.modbus.layout import (
    FIELDS,
    SCORE_SCALE,
    SLOT_FIELDS,
    STATUS_BITS,
    Field,
    Kind,
    Value,
    slot_name,
    status_bits,
)
from pipeline.bridge.slots import SLOTS

NAMESPACE = "urn:prn-line:live"
FOLDER = "Live"
_LOW_BYTE = 0xFF


class TagType(StrEnum):
    """The OPC UA type of a tag, by its name there."""

    BOOLEAN = "Boolean"
    BYTE = "Byte"
    INT16 = "Int16"
    UINT16 = "UInt16"
    UINT32 = "UInt32"
    FLOAT = "Float"
    STRING = "String"


_TYPES = {Kind.U16: TagType.UINT16, Kind.I16: TagType.INT16, Kind.U32: TagType.UINT32}
_TYPES |= {Kind.F32: TagType.FLOAT, Kind.TEXT: TagType.STRING}
_ZERO: dict[TagType, Value] = {TagType.BOOLEAN: False, TagType.FLOAT: 0.0, TagType.STRING: ""}
_BY_NAME = {field.name: field for field in FIELDS}


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag."""

    name: str  # unique within its camera, without a dot or slash
    type: TagType
    field: str  # of the register map, as of the first camera; `newest` stands for its slot
    meaning: str
    writable: bool = False

    @property
    def zero(self) -> Value:
        """What it shows before there is anything to show."""
        return _ZERO.get(self.type, 0)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _of_field(field: Field, name: str = "", *, writable: bool = False) -> Tag:
    return Tag(name or _camel(field.name), _TYPES[field.kind], field.name, field.meaning, writable)


def _of_verdict(prefix: str, slot: str) -> Iterator[Tag]:
    """Yield the tags of a verdict; its trigger id is the last."""
    for field in SLOT_FIELDS[1:]:
        name, source = prefix + _camel(field.name), slot + field.name
        if field.name == "code":
            meaning = "0 nothing, 1 OK, 2 NG, 3 UNKNOWN"
            yield Tag(name, TagType.BYTE, source, meaning)
            yield Tag(f"{prefix}Reason", TagType.BYTE, source, "why the code is UNKNOWN")
        elif field.name == "score":
            yield Tag(name, TagType.FLOAT, source, "normalised score, 0..1; 0.5 at the threshold")
        elif field.kind is Kind.TEXT:
            yield Tag(name, TagType.STRING, source, "the part id")
        else:
            yield Tag(name, _TYPES[field.kind], source, field.meaning)
    first = SLOT_FIELDS[0]
    yield Tag(prefix + _camel(first.name), _TYPES[first.kind], slot + first.name, first.meaning)


def _tags() -> Iterator[Tag]:
    for name in ("ack_trigger_id", "ack_epoch", "plc_heartbeat", "command"):
        yield _of_field(_BY_NAME[name], writable=True)
    yield _of_field(_BY_NAME["command_argument"], "Argument", writable=True)
    for name in ("command_echo", "command_result"):
        yield _of_field(_BY_NAME[name])
    for at in range(SLOTS):
        yield from _of_verdict(slot_prefix(at), slot_name(at, ""))
    for name in ("count_ok", "count_ng", "count_unknown"):
        yield _of_field(_BY_NAME[name])
    yield _of_field(_BY_NAME["count_undelivered"], "Undelivered")
    for bit in STATUS_BITS:
        yield Tag(_camel(bit), TagType.BOOLEAN, "status", f"the status bit `{bit}`")
    for name in ("oldest_slot", "heartbeat", "epoch"):
        yield _of_field(_BY_NAME[name])
    yield from _of_verdict("", NEWEST)


def slot_prefix(at: int) -> str:
    """Return what the names of a slot's tags begin with."""
    return f"Slot{at}_"


NEWEST = "newest_"
TAGS: tuple[Tag, ...] = tuple(_tags())
WRITABLE = {tag.name: tag for tag in TAGS if tag.writable}
_BITS = {_camel(bit): bit for bit in STATUS_BITS}


def node_path(camera: str, name: str = "") -> str:
    """Return the identifier of a camera's object or tag, the same at every start."""
    return f"{FOLDER}/{camera}/{name}" if name else f"{FOLDER}/{camera}"


def tag_values(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return what the tags show, by name and in order, without what the PLC writes.

    Args:
        values: of `GateView.values`.
    """
    at = int(values["newest_trigger_id"]) % SLOTS
    newest = {NEWEST + field.name: slot_name(at, field.name) for field in SLOT_FIELDS}
    shown: dict[str, Value] = {}
    for tag in TAGS:
        if not tag.writable:
            value = values.get(newest.get(tag.field, tag.field), tag.zero)
            shown[tag.name] = _shown(tag, value)
    return shown


def _shown(tag: Tag, value: Value) -> Value:
    if tag.type is TagType.BOOLEAN:
        return _BITS[tag.name] in status_bits(int(value))
    if tag.type is TagType.BYTE:
        return int(value) >> 8 if tag.name.endswith("Reason") else int(value) & _LOW_BYTE
    if tag.name.endswith("Score"):
        return float(value) / SCORE_SCALE
    return value


def read_slots(names: set[str], newest_trigger_id: int) -> set[int]:
    """Return which slots a client gets that gets these tags: trigger id and code of each."""
    slots = {
        at
        for at in range(SLOTS)
        if {f"{slot_prefix(at)}TriggerId", f"{slot_prefix(at)}Code"} <= names
    }
    if {"TriggerId", "Code"} <= names:
        slots.add(newest_trigger_id % SLOTS)
    return slots


def markdown_tags() -> str:
    """Return the table of tags as it stands in the docs; the eight slots are one row each."""
    rows = ["| tag | type | meaning |", "|---|---|---|"]
    for tag in TAGS:
        prefix, _, name = tag.name.rpartition("_")
        if prefix in {"", slot_prefix(0).rstrip("_")}:
            shown = f"Slot0_{name} ... Slot{SLOTS - 1}_{name}" if prefix else name
            written = " (PLC writes)" if tag.writable else ""
            rows.append(f"| `{shown}`{written} | {tag.type} | {tag.meaning} |")
    return "\n".join(rows)
