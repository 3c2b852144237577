"""What is said on a line beside frames: control messages, heartbeats, what became of promotions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.errors import UnreadableFrame
from pipeline.wire.fields import Fields, pack, shown

MAX_MESSAGE_BYTES = 4096
MAX_REPORT_BYTES = 65_536  # it says where each camera stands
_WHY_CHARS = 200


class RolloutState(StrEnum):
    """What is known of a promotion."""

    TRYING = "trying"  # by a worker that has not said yet how it ended
    HELD = "held"  # on live frames
    REFUSED = "refused"  # promoted once more, the version may try again


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """What the workers of a line found out about a promotion."""

    version: str  # in the registry
    promoted_at: str  # as the registry says it
    state: RolloutState
    worker: str  # who says so
    why: str = ""
    tries: int = 1  # that were begun; each before the last took its worker with it
    noted_ms: int = 0  # UTC, since the epoch


def encode_control(kind: str, **fields: str | float | list[str]) -> bytes:
    """Pack a control message."""
    return pack({"kind": kind, **fields})


def decode_control(packed: bytes) -> dict[str, Any]:
    """Read a control message.

    Raises:
        UnreadableFrame: foreign bytes or another schema version.
    """
    fields = Fields(packed, MAX_MESSAGE_BYTES, UnreadableFrame)
    fields.text("kind")
    return fields.everything()


def encode_report(fields: dict[str, Any]) -> bytes:
    """Pack a worker's heartbeat."""
    return pack(fields)


def decode_report(packed: bytes) -> dict[str, Any]:
    """Read a worker's heartbeat.

    Raises:
        UnreadableFrame: foreign bytes or another schema version.
    """
    return Fields(packed, MAX_REPORT_BYTES, UnreadableFrame).everything()


def encode_rollout_record(record: RolloutRecord) -> bytes:
    """Pack what is known of a promotion; a long reason is cut."""
    return pack(
        {
            "version": record.version,
            "promoted_at": record.promoted_at,
            "standing": record.state.value,
            "worker": record.worker,
            "why": record.why[:_WHY_CHARS].encode(errors="replace").decode(),
            "tries": record.tries,
            "noted_ms": record.noted_ms,
        }
    )


def decode_rollout_record(packed: bytes) -> RolloutRecord:
    """Read what is known of a promotion.

    Raises:
        UnreadableFrame: foreign bytes or another schema version.
    """
    fields = Fields(packed, MAX_MESSAGE_BYTES, UnreadableFrame)
    standing = fields.text("standing")
    if standing not in set(RolloutState):
        raise UnreadableFrame(f"field 'standing': {shown(standing)}")
    return RolloutRecord(
        fields.text("version"),
        fields.text("promoted_at"),
        RolloutState(standing),
        fields.text("worker"),
        fields.text("why"),
        fields.whole("tries"),
        fields.whole("noted_ms"),
    )
