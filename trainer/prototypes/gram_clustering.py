"""Exact k-means of few, very long vectors, from their Gram matrix.

The Gram matrix G of N vectors, G[i, j] = <x_i, x_j>, is V diag(w) V^T. So the rows of V sqrt(w) are
N vectors of N numbers with the same inner products, hence the same distances, means and clusters.
scikit-learn clusters those: a run over hundreds of maps of 262,144 numbers takes milliseconds.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

RESTARTS = 10
ROUNDS = 300  # of Lloyd, at most (PRN)
_SAME = 1e-6  # squared distance of two means that float32 sums cannot tell apart, of the mean one

Grams = NDArray[np.float64]  # [N, N]
Labels = NDArray[np.intp]  # [N], cluster of each vector


def cluster(gram: Grams, count: int, seed: int) -> Labels:
    """Cluster N vectors by k-means, the best of ten k-means++ starts.

    Args:
        gram: float64 [N, N], inner products.
        count: clusters wanted, 1..N; fewer come out where vectors are copies of each other.
        seed: of the starts.

    Returns: labels 0..K-1, none of them empty, no two clusters with the same mean.
    """
    points = coordinates(gram)
    means = KMeans(count, n_init=RESTARTS, max_iter=ROUNDS, tol=0, random_state=seed)
    # threads add up in an order that changes from run to run
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than clusters
        labels: NDArray[np.int32] = means.fit(points).labels_
    return _without_copies(points, _compact(labels))


def coordinates(gram: Grams) -> NDArray[np.float64]:
    """Return N vectors of N numbers, [N, N], whose inner products are `gram`."""
    values, vectors = np.linalg.eigh(gram)
    found: NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0))
    return found


def _compact(labels: NDArray[np.integer]) -> Labels:
    compact: Labels = np.unique(labels, return_inverse=True)[1]
    return compact


def _without_copies(points: NDArray[np.float64], labels: Labels) -> Labels:
    """Join clusters whose means are the same."""
    means = np.stack([points[labels == each].mean(axis=0) for each in range(labels.max() + 1)])
    distances = np.square(means[:, None] - means).sum(axis=2)
    same = distances <= _SAME * np.square(points).sum(axis=1).mean()
    return _compact(same.argmax(axis=1)[labels])  # the first that is the same, itself at worst
