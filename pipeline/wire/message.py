"""What is said on a line beside frames: control messages, heartbeats, refused promotions."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import UnreadableFrame
from pipeline.wire.fields import Fields, pack

MAX_MESSAGE_BYTES = 4096
MAX_REPORT_BYTES = 65_536  # it says where each camera stands
_WHY_CHARS = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """A promotion that did not hold on live frames."""

    version: str  # in the registry
    promoted_at: str  # as the registry says it: promoted once more, the version may try again
    why: str
    worker: str  # who found it


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


def encode_refusal(refusal: Refusal) -> bytes:
    """Pack a refused promotion; a long reason is cut."""
    return pack(
        {
            "version": refusal.version,
            "promoted_at": refusal.promoted_at,
            "why": refusal.why[:_WHY_CHARS].encode(errors="replace").decode(),
            "worker": refusal.worker,
        }
    )


def decode_refusal(packed: bytes) -> Refusal:
    """Read a refused promotion.

    Raises:
        UnreadableFrame: foreign bytes or another schema version.
    """
    fields = Fields(packed, MAX_MESSAGE_BYTES, UnreadableFrame)
    return Refusal(*(fields.text(name) for name in ("version", "promoted_at", "why", "worker")))
