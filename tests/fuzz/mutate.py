"""Mutated messages: what a bad cable, a later release or a hostile program may send.

Beside `fuzz.mutation`, which damages bytes, this knows the fields of a message.
"""

import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from fuzz.mutation import Mutator, read_flags, report

_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**53 + 1,
    2**62,
    2**64 - 1,
    -(2**63),
    0.0,
    -0.0,
    1e200,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    "x" * 300,
    "[/red]\n\x00",
    b"",
    b"\xff" * 20,
    [],
    [[]],
    {},
    {"v": 1},
)
_IN_FIELDS, _IN_BYTES = 0.6, 0.6  # shares of messages
Check = Callable[[bytes], None]


def mutated(messages: Sequence[bytes], mutator: Mutator) -> bytes:
    """Return one of the messages with faults in its fields, in its bytes, or in both."""
    rng = mutator.rng
    message = rng.choice(messages)
    if rng.random() < _IN_FIELDS:
        message = _with_odd_field(message, rng)
    return mutator.damaged(message) if rng.random() < _IN_BYTES else message


def _with_odd_field(message: bytes, rng: random.Random) -> bytes:
    try:
        fields = msgpack.unpackb(message, strict_map_key=False)
        if not isinstance(fields, dict):
            return message
        fields[rng.choice([*fields, "new"])] = _odd(rng, depth=3)
        return bytes(msgpack.packb(fields))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return message


def _odd(rng: random.Random, depth: int) -> Any:  # noqa: ANN401  # whatever msgpack holds
    if depth and rng.random() < 0.3:
        return [_odd(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    return rng.choice(_ODD)


def hunt(
    checks: Sequence[tuple[Check, Sequence[bytes]]], seconds: float, seed: int
) -> tuple[int, list[str]]:
    """Return mutated messages to checks until the time is over; return how many, and the findings.

    Args:
        checks: each with the sound messages to start from. One that raises has found something.
        seconds: how long, at least one message each.
        seed: of the mutations.
    """
    mutators = [Mutator(seed, messages) for _, messages in checks]
    until_s, tried, findings = time.monotonic() + seconds, 0, []
    while tried < len(checks) or time.monotonic() < until_s:
        at = tried % len(checks)
        check, messages = checks[at]
        message = mutated(messages, mutators[at])
        tried += 1
        try:
            check(message)
        except Exception:  # noqa: BLE001  # whatever comes out is the finding
            findings.append(f"{message.hex()}\n{traceback.format_exc()}")
    return tried, findings


def run(checks: Sequence[tuple[Check, Sequence[bytes]]]) -> int:
    """Hunt as the command line says; print each finding; 1 where there is one."""
    flags, began_s = read_flags(__doc__), time.monotonic()
    tried, findings = hunt(checks, flags.seconds, flags.seed)
    for finding in findings:
        sys.stderr.write(finding + "\n")
    report(tried, began_s, findings=len(findings))
    return 1 if findings else 0
