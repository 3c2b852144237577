"""Pictures that are nearly the same: one part photographed again, or one picture saved twice.

A fingerprint is a grey picture of 32 x 32 means, less their overall mean. Two pictures are alike if
their fingerprints differ by at most one grey level on average, and by little compared with their
contrast. This tolerates noise, JPEG and an ageing lamp. On four data sets no two different parts
came nearer than 1.2 levels. A part shifted by one pixel is not recognised: the shift changes a
fingerprint as much as another part in the same jig does.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
LENGTH = SIDE * SIDE
_MOST_LEVELS = 1.0  # mean absolute difference, grey levels
_MOST_SHARE = 0.1  # of the standard deviation: surfaces without contrast are not all alike
_ROWS = 4096  # compared at once
_BLOCKS = 8  # on a side, to distinguish most pictures quickly
_ROUNDING = 1e-3  # rounding error of float32 sums

Fingerprint = NDArray[np.float16]  # [LENGTH]


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """Reduce uint8 [H, W, 3] to grey levels, less their mean."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = np.asarray(small, np.float32).mean(axis=2)
    return np.asarray(grey - grey.mean(), np.float16).ravel()


def alike(one: Fingerprint, others: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Return which of `others` [N, LENGTH] are near-duplicates of `one`, bool [N]."""
    wanted = one.astype(np.float32)
    limit = min(_MOST_LEVELS, _MOST_SHARE * float(wanted.std()))
    found = np.zeros(len(others), np.bool_)
    for start in range(0, len(others), _ROWS):
        rows = others[start : start + _ROWS].astype(np.float32)
        found[start : start + _ROWS] = np.abs(rows - wanted).mean(axis=1) <= limit
    return found


def near_copies(prints: NDArray[np.float16]) -> NDArray[np.intp]:
    """Find all pairs of near-duplicates among `prints` [N, LENGTH]: places [P, 2], lower first.

    Pictures of one uniform colour have no features to compare, and never count as duplicates. Means
    of blocks differ by no more than the pixels do, so they rule out most pairs.
    """
    rows = prints.astype(np.float32)
    side = SIDE // _BLOCKS
    blocks = rows.reshape(-1, _BLOCKS, side, _BLOCKS, side).mean(axis=(2, 4))
    blocks = blocks.reshape(len(rows), -1)
    limits = np.minimum(_MOST_LEVELS, _MOST_SHARE * rows.std(axis=1))
    pairs: list[tuple[int, int]] = []
    for place in range(len(rows) - 1):
        limit = np.maximum(limits[place], limits[place + 1 :])
        near = np.abs(blocks[place + 1 :] - blocks[place]).mean(axis=1) <= limit + _ROUNDING
        for other in np.flatnonzero(near) + place + 1:
            most = max(limits[place], limits[other])
            if most > 0 and np.abs(rows[other] - rows[place]).mean() <= most:
                pairs.append((place, int(other)))
    return np.array(pairs, np.intp).reshape(-1, 2)


class NearDuplicateIndex:
    """Fingerprints of the store's pictures by hash; grows as pictures are added."""

    def __init__(self) -> None:
        self.hashes: list[str] = []
        self._known: set[str] = set()
        self._table = np.empty((0, LENGTH), np.float16)

    def add(self, sha: str, print_: Fingerprint) -> None:
        """Add a fingerprint; a known hash keeps its own."""
        if sha in self._known:
            return
        if len(self.hashes) == len(self._table):
            grown = np.empty((max(64, 2 * len(self._table)), LENGTH), np.float16)
            grown[: len(self._table)] = self._table
            self._table = grown
        self._table[len(self.hashes)] = print_
        self._known.add(sha)
        self.hashes.append(sha)

    def of(self, print_: Fingerprint) -> list[str]:
        """Return the pictures that a fingerprint is a near-duplicate of."""
        found = alike(print_, self._table[: len(self.hashes)])
        return [self.hashes[index] for index in np.flatnonzero(found)]
