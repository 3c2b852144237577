"""Exact k-means of few, very long vectors: all of it on their Gram matrix.

With G[i, j] = <x_i, x_j>, the squared distance of x_i to the mean of cluster a is

    G[i, i] - 2 mean_{j in a} G[i, j] + mean_{j, l in a} G[j, l]

so Lloyd's rounds never touch the vectors, and a run over hundreds of maps of 262,144 numbers
takes milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESTARTS = 10
ROUNDS = 300  # of Lloyd, at most (PRN)
_SAME = 1e-6  # squared distance of two means that float32 sums cannot tell apart, of the mean one

Grams = NDArray[np.float64]  # [N, N]
Labels = NDArray[np.intp]  # [N], cluster of each vector


@dataclass(frozen=True, slots=True)
class _Run:
    labels: Labels
    cost: float  # sum of squared distances to the own mean


def cluster(gram: Grams, count: int, seed: int) -> Labels:
    """Cluster N vectors by k-means, the best of ten k-means++ starts.

    Args:
        gram: float64 [N, N], inner products.
        count: clusters wanted, 1..N; fewer come out where vectors are copies of each other.
        seed: of the starts.

    Returns: labels 0..K-1, none of them empty, no two clusters with the same mean.
    """
    runs = [
        _lloyd(gram, _start(gram, count, np.random.default_rng([seed, restart])))
        for restart in range(RESTARTS)
    ]
    best = min(runs, key=lambda run: run.cost)  # the first at a tie
    return _without_copies(gram, _compact(best.labels))


def _start(gram: Grams, count: int, rng: np.random.Generator) -> Labels:
    """Draw seeds by k-means++ and give every vector to its nearest."""
    square = np.diag(gram)
    chosen = [int(rng.integers(len(gram)))]
    nearest = _from_vector(gram, chosen[0])
    while len(chosen) < count and nearest.sum() > _SAME * square.mean():
        chosen.append(int(rng.choice(len(gram), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, _from_vector(gram, chosen[-1]))
    distances = np.stack([_from_vector(gram, index) for index in chosen], axis=1)
    return _nearest(distances)


def _from_vector(gram: Grams, index: int) -> NDArray[np.float64]:
    """Squared distance of every vector to vector `index`, [N]."""
    square = np.diag(gram)
    distances: NDArray[np.float64] = np.maximum(square + square[index] - 2 * gram[:, index], 0)
    return distances


def _nearest(distances: NDArray[np.float64]) -> Labels:
    labels: Labels = distances.argmin(axis=1)
    return labels


def _lloyd(gram: Grams, start: Labels) -> _Run:
    count = int(start.max()) + 1
    labels = start
    for _ in range(ROUNDS):
        distances = mean_distances(gram, labels, count)
        moved = _filled(_nearest(distances), distances, count)
        if np.array_equal(moved, labels):
            break
        labels = moved
    own = mean_distances(gram, labels, count)[np.arange(len(gram)), labels]
    return _Run(labels, float(own.sum()))


def mean_distances(gram: Grams, labels: Labels, count: int) -> NDArray[np.float64]:
    """Squared distance of every vector to every cluster's mean, [N, count]; inf to an empty one."""
    member = np.zeros((len(gram), count))
    member[np.arange(len(gram)), labels] = 1
    sizes = member.sum(axis=0)
    share = member / np.maximum(sizes, 1)
    products = gram @ share  # [N, count]: <x_i, mean_a>
    squares = np.einsum("ia,ia->a", share, products)
    distances: NDArray[np.float64] = np.maximum(np.diag(gram)[:, None] - 2 * products + squares, 0)
    distances[:, sizes == 0] = np.inf
    return distances


def _filled(labels: Labels, distances: NDArray[np.float64], count: int) -> Labels:
    """Give each empty cluster the vector that is farthest from its mean, if any is off it."""
    filled = labels.copy()
    far = distances[np.arange(len(labels)), labels]
    for empty in np.setdiff1d(np.arange(count), labels):
        # a singleton given away would leave another cluster empty
        able = np.bincount(filled, minlength=count)[filled] > 1
        candidate = int(np.where(able, far, -1).argmax())
        if able[candidate] and far[candidate] > 0:
            filled[candidate], far[candidate] = empty, 0
    return filled


def _compact(labels: Labels) -> Labels:
    return np.unique(labels, return_inverse=True)[1]


def _without_copies(gram: Grams, labels: Labels) -> Labels:
    """Join clusters whose means are the same."""
    count = int(labels.max()) + 1
    share = np.zeros((len(gram), count))
    share[np.arange(len(gram)), labels] = 1
    share /= share.sum(axis=0)
    between = share.T @ gram @ share  # [count, count]: <mean_a, mean_b>
    square = np.diag(between)
    distances = square[:, None] + square - 2 * between
    same = distances <= _SAME * np.diag(gram).mean()
    return _compact(same.argmax(axis=1)[labels])  # the first that is the same, itself at worst
