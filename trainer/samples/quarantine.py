"""Which new normal pictures wait for a person: pure rules, distances and sources in, reasons out.

Odd: the picture's oddest places are unlike every place of the earlier normal pictures. The limit
comes from those pictures: each is compared with the others, and the limit lies some standard
deviations above the median. Both are robust against a tenth of defects among the pictures. If
nothing is trusted yet, the new pictures are compared with each other, twice. The second time leaves
out the odd ones of the first, so that defects of one kind cannot confirm each other.

Flood: so many near-duplicates that one part would count as many. Crowded hour: one hour supplies
most of a day's pictures, so a fault in that hour would become normal.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.choices import ODDNESS

LEAST_REFERENCES = 20  # normal pictures, of fewer nothing is told
_NTH = 2  # a place's distance is that to the third nearest: one twin proves nothing
_ODDEST = 8  # places of a picture that count
_TO_SIGMA = 1.4826  # of a normal distribution, by its median absolute deviation


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """From where on a picture waits."""

    oddness: float = ODDNESS  # standard deviations above the median of normal pictures
    alike: int = 20  # near-duplicates of each other, the rest of them waits
    share: float = 0.5  # of a day's new pictures, that one hour may give
    least_new: int = 20  # pictures a day, from which on shares are looked at


@dataclass(frozen=True, slots=True)
class Nearest:
    """The oddest places of N pictures, and the nearest places of references to each."""

    distances: NDArray[np.float32]  # [N, P, K], rising along K: 1 - cosine
    owners: NDArray[np.int32]  # [N, P, K], index of the picture that each is of; -1: none


def oddness(nearest: Nearest, left_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute how odd pictures are, [N]: the mean of their oddest places' distances.

    Args:
        nearest: of N pictures.
        left_out: [N], pictures that vouch for none.
    """
    owners = nearest.owners
    counts = (owners >= 0) & ~left_out[np.maximum(owners, 0)]
    rank = np.cumsum(counts, axis=2) - 1
    wanted = counts & (rank == _NTH)
    last = nearest.distances[:, :, -1]
    chosen = np.where(
        wanted.any(axis=2), np.where(wanted, nearest.distances, 0).sum(axis=2), last
    )  # [N, P]
    falling = -np.sort(-chosen, axis=1)
    mean: NDArray[np.float64] = falling[:, :_ODDEST].mean(axis=1, dtype=np.float64)
    return mean


def deviations(values: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many standard deviations values [N] lie above the median of those `among` [N] them."""
    median = np.median(values[among])
    spread = _TO_SIGMA * np.median(np.abs(values[among] - median))
    return np.asarray((values - median) / max(spread, 1e-3 * abs(median), 1e-9))


def rate_oddness(
    nearest: Nearest, references: NDArray[np.bool_], *, trusted: bool, limit: float
) -> NDArray[np.float64]:
    """How many standard deviations each picture is odd by, [N].

    Args:
        nearest: of N pictures to the references among them.
        references: which those are, [N].
        trusted: whether they are trusted, or new pictures themselves.
        limit: deviations from which a reference that is new no longer vouches.
    """
    first = deviations(oddness(nearest, np.zeros(len(references), np.bool_)), references)
    if trusted:
        return first
    left_out = first > limit
    return np.maximum(first, deviations(oddness(nearest, left_out), references))


def flooding(
    new: Sequence[str], likes: Mapping[str, Collection[str]], kept: Collection[str], most: int
) -> set[str]:
    """Name the new pictures of which the store has too many near-duplicates already.

    Args:
        new: hashes, in the order in which they count.
        likes: near-duplicates of each.
        kept: hashes of the normal pictures before them.
        most: of one another that pass.
    """
    passed = set(kept)
    found = set()
    for sha in new:
        if len(passed.intersection(likes[sha]) - {sha}) >= most:
            found.add(sha)
        else:
            passed.add(sha)
    return found


def dominating(hours: Sequence[str], limits: QuarantineLimits) -> str:
    """Name the hour that gives more than its share of a day's new pictures; "" for none.

    Args:
        hours: in which each was taken; "" where it is not known.
        limits: see there.
    """
    known = Counter(hour for hour in hours if hour)
    if len(hours) < limits.least_new or not known:
        return ""
    hour, count = known.most_common(1)[0]
    return hour if count > limits.share * len(hours) else ""
