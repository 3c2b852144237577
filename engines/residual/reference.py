"""The prototype residual in numpy: the reference for every other form of the operator.

    d[n, k] = sum_i (F[n, i] - P[k, i])^2        i over all C * H * W elements
    k*[n]   = lowest k among the minima of d[n]
    R[n, i] = (F[n, i] - P[k*[n], i])^2

PRN (arXiv 2212.02031), multi-scale prototypes: whole maps are compared, not single places.
"""

import numpy as np

from engines.engine import Floats, Indices


def prototype_residual(features: Floats, prototypes: Floats) -> tuple[Floats, Indices, Floats]:
    """Compare each picture's features with the nearest of the prototypes.

    A picture with a NaN among its features takes prototype 0, with a distance of NaN and a
    residual that is NaN where the feature was; the other pictures of the batch are not affected.

    Args:
        features: float32 [N, C, H, W].
        prototypes: float32 [K, C, H, W], K >= 1, finite.

    Returns: residual float32 [N, C, H, W], index int32 [N] (the lowest at a tie), squared distance
    float32 [N]. Sums are accumulated in float32, in numpy's pairwise order.
    """
    index = np.empty(len(features), np.int32)
    residual = np.empty_like(features)
    distance = np.empty(len(features), np.float32)
    for picture, feature in enumerate(features):
        squares = [_squared_distance(feature, prototype) for prototype in prototypes]
        nearest = int(np.argmin(squares))  # the first NaN, if there is one
        index[picture] = nearest
        distance[picture] = squares[nearest]
        residual[picture] = np.square(feature - prototypes[nearest])
    return residual, index, distance


def _squared_distance(feature: Floats, prototype: Floats) -> np.float32:
    squared: np.float32 = np.square(feature - prototype).sum(dtype=np.float32)
    return squared
