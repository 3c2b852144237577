"""Mutated control messages, heartbeats and rollout records through their readers.

`PYTHONPATH=.:tests python tests/fuzz/control.py --seconds 60 --seed 1`: exit status 1 on a finding.
A message that is none is ignored: the state of the line stays one that a worker can use.
"""

import logging
import math
import sys
from contextlib import suppress

from fuzz.mutate import run
from pipeline.control import FROM_THE_FIRST, LineState, apply_messages
from pipeline.errors import UnreadableFrame
from pipeline.wire import (
    RolloutRecord,
    RolloutState,
    decode_report,
    decode_rollout_record,
    encode_control,
    encode_report,
    encode_rollout_record,
)

CONTROLS = [
    encode_control("threshold", image=0.4, pixel=0.5, engines=["0" * 64]),
    encode_control("pause"),
    encode_control("look"),
]
REPORTS = [encode_report({"frames": 3, "cameras": {"cam": {"drift": 0.5}}})]
RECORDS = [encode_rollout_record(RolloutRecord("v1", "today", RolloutState.HELD, "worker"))]


class OneMessage:
    """A stream that holds one message."""

    def __init__(self, packed: bytes) -> None:
        """Hold a message."""
        self._packed = packed

    def since(self, after: str) -> list[tuple[str, bytes]]:
        """Return the message to who has not read it yet."""
        return [("1-1", self._packed)] if after == FROM_THE_FIRST else []


def check_control(packed: bytes) -> None:
    """Apply a control message."""
    state, after = apply_messages(OneMessage(packed), LineState(), FROM_THE_FIRST)
    assert after == "1-1"
    for threshold in (state.threshold, state.pixel):
        assert threshold is None or math.isfinite(threshold.value)
    state.thresholds_of("0" * 64)


def check_report(packed: bytes) -> None:
    """Read a heartbeat."""
    with suppress(UnreadableFrame):
        decode_report(packed)


def check_record(packed: bytes) -> None:
    """Read a rollout record, which can then be written again."""
    with suppress(UnreadableFrame):
        encode_rollout_record(decode_rollout_record(packed))


CHECKS = ((check_control, CONTROLS), (check_report, REPORTS), (check_record, RECORDS))

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(run(CHECKS))
