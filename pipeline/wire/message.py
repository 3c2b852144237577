"""What is said on a line beside frames: control messages and workers' heartbeats."""

from typing import Any

from pipeline.errors import UnreadableFrame
from pipeline.wire.fields import Fields, pack

MAX_MESSAGE_BYTES = 4096
MAX_REPORT_BYTES = 65_536  # it says where each camera stands


def encode_control(kind: str, **fields: str | float) -> bytes:
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
