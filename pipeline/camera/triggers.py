"""Triggers whose picture never came, seen by the numbers that a device gives its pictures.

GenICam devices number what they send: GigE Vision 1 in 16 bits, where 65535 is followed by 1 (0 is
reserved), GigE Vision 2 and USB3 Vision in 64. The numbers begin again with every acquisition, so
what passed while none ran was numbered by nobody and cannot be counted.
"""

from dataclasses import dataclass

_LAST_16_BIT = 0xFFFF
_NEARER = _LAST_16_BIT // 2  # a way round that is longer than half is no roll-over but a restart
_MOST_MISSED = 1 << 32  # above it the number is garbage


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a device wrote on a picture."""

    number: int | None  # None where it does not number its pictures
    ticks: int = 0  # its clock, in its own unit; 0 where it has none


class Triggers:
    """Follows the numbers of one acquisition."""

    def __init__(self) -> None:
        self._before = Stamp(None)
        self._unnumbered = 0  # shots since then

    def missed(self, now: Stamp) -> int:
        """Say how many triggers before this shot gave none; 0 where nobody knows."""
        if now.number is None:
            self._unnumbered += 1
            return 0
        missed = max(0, triggers_between(self._before, now) - 1 - self._unnumbered)
        self._before, self._unnumbered = now, 0
        return missed


def triggers_between(before: Stamp, now: Stamp) -> int:
    """Count the triggers from one picture to the next: 1 where none was missed.

    A device that was switched off begins at a low number, as one that rolls over does: its clock
    tells them apart, and where it has none, the shorter way round.
    """
    if before.number is None or now.number is None or 0 < now.ticks < before.ticks:
        return 1
    step = now.number - before.number
    if step < 0 and before.number <= _LAST_16_BIT:
        step += _LAST_16_BIT
        timed = 0 < before.ticks <= now.ticks
        step = step if timed or step <= _NEARER else 1
    return step if 1 <= step <= _MOST_MISSED else 1
