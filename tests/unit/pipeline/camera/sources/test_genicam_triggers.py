"""A device's picture numbers: what is missed is counted once, whatever the numbers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera.sources.genicam import Stamp, Triggers, triggers_between

NUMBERED_OR_NOT = st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60)


def sixteen_bits(trigger: int) -> int:
    """A GigE Vision block id: 1..65535, then 1 again."""
    return (trigger - 1) % 65535 + 1


@pytest.mark.parametrize(
    ("before", "now", "triggers"),
    [
        (Stamp(7), Stamp(8), 1),
        (Stamp(7), Stamp(11), 4),
        (Stamp(65535), Stamp(1), 1),
        (Stamp(65535), Stamp(0), 1),  # a device that does not heed that 0 is reserved
        (Stamp(65530), Stamp(3), 8),
        (Stamp(65535), Stamp(65536), 1),  # 64 bits
        (Stamp(1 << 40), Stamp((1 << 40) + 2), 2),
        (Stamp(500), Stamp(1), 1),  # switched off and on
        (Stamp(1 << 40), Stamp(1), 1),
        (Stamp(60_000, 900), Stamp(1, 20), 1),  # likewise: its clock began again
        (Stamp(60_000, 900), Stamp(1, 950), 5536),
        (Stamp(500, 900), Stamp(1, 950), 65036),
        (Stamp(0), Stamp(0), 1),  # a producer that writes 0 on all
        (Stamp(1), Stamp(1 << 60), 1),  # garbage
        (Stamp(None), Stamp(9), 1),
    ],
)
def test_triggers_from_one_picture_to_the_next(before: Stamp, now: Stamp, triggers: int) -> None:
    assert triggers_between(before, now) == triggers


@given(st.integers(1, 1 << 20), NUMBERED_OR_NOT)
def test_shots_and_missed_triggers_add_up_across_roll_over(
    first: int, steps: list[tuple[int, bool]]
) -> None:
    counted, trigger, seq = Triggers(), first, 0
    counted.missed(Stamp(sixteen_bits(trigger)))
    for lost, has_number in steps:
        trigger += lost + 1
        seq += 1 + counted.missed(Stamp(sixteen_bits(trigger) if has_number else None))
    seq += 1 + counted.missed(Stamp(sixteen_bits(trigger + 1)))
    assert seq == trigger + 1 - first


@given(st.lists(st.tuples(st.none() | st.integers(0, 1 << 62), st.integers(0, 1 << 62))))
def test_whatever_a_device_writes_seq_rises(written: list[tuple[int | None, int]]) -> None:
    counted = Triggers()
    assert all(0 <= counted.missed(Stamp(*one)) <= 1 << 32 for one in written)
