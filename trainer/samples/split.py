"""The rule of the golden set: a fifth of each kind by content, and likes stay together.

A picture's side is decided once, when it comes: what training has seen cannot become a test, and
what tests is never learned.
"""

from collections.abc import Sequence
from enum import Enum

_ONE_IN = 5


class Split(Enum):
    """Which side may see a picture."""

    TRAINING = "training"
    GOLDEN = "golden"
    NEITHER = "neither"


def choose_split(sha: str, likes_golden: Sequence[bool]) -> Split:
    """Decide the side of a new picture.

    Args:
        sha: of its content, hex.
        likes_golden: of each near-duplicate of it that the store has, whether that is golden.

    Returns: where its likes are, without any a draw by hash; neither where they are on both sides.
    """
    if not likes_golden:
        return Split.GOLDEN if int(sha[:8], 16) % _ONE_IN == 0 else Split.TRAINING
    if all(likes_golden):
        return Split.GOLDEN
    return Split.NEITHER if any(likes_golden) else Split.TRAINING
