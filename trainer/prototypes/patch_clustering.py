"""Prototypes of normal patches: FINCH averages away the noise, farthest points keep the rare.

A coarse partition's means lose rare normal patterns, which then raise false alarms; farthest
points among raw patches spend themselves on noise and know the common patterns badly. So: means
of FINCH's finest partition, and of these the farthest points. docs/experiments.md, "Which
prototypes", has the figures.

FINCH is parameter-free clustering by first neighbours (Sarfraz et al., CVPR 2019, section 3),
written from the paper's equations. Its authors write in their repository that "the code and FINCH
algorithm is not meant for commercial use": `clustering="farthest"` does without. Points are unit
vectors, similarity is the cosine. It is exact: the first neighbours come from blocked matrix
products, so cost grows with the square of the points.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from trainer.choices import Clustering
from trainer.networks.proto_ad import PatchEncoder, patches

PROTOTYPES = 1000
SAMPLED_PATCHES = 20_000  # FINCH's cost grows with their square
PATCH_STRIDE = 4  # pixels from one patch to the next
_BATCH = 8
_BLOCK = 4096  # rows of similarities in memory at once
_COPY = 1e-6  # cosine distance under which float32 cannot tell two points apart


def learn_prototypes(
    sample: Tensor, clustering: Clustering = "finch", count: int = PROTOTYPES
) -> Tensor:
    """Choose prototypes for patches.

    Args:
        sample: float32 [N, C], unit length.
        clustering: finch takes the farthest of FINCH's finest means, farthest those of the sample.
        count: how many at most.

    Returns: float32 [K, C], unit length.
    """
    points = sample if clustering == "farthest" else finch(sample)[0].means
    return points[farthest_points(points, count)]


def sample_patches(
    encoder: PatchEncoder,
    pixels: NDArray[np.uint8],
    seed: int,
    on_picture: Callable[[int], None] = lambda _: None,
    inspected: NDArray[np.bool_] | None = None,
) -> Tensor:
    """Draw patches of normal pictures, the same number from each.

    Args:
        encoder: what makes patches.
        pixels: uint8 [N, H, W, 3].
        seed: of the draw.
        on_picture: called with a number of pictures that were seen.
        inspected: [H/4 * W/4], patches to draw from, one at least; None: all.

    Returns: float32 [about SAMPLED_PATCHES, C], unit length.
    """
    generator = torch.Generator().manual_seed(seed)
    each = -(-SAMPLED_PATCHES // len(pixels))
    drawn = []
    for start in range(0, len(pixels), _BATCH):
        frames = torch.from_numpy(pixels[start : start + _BATCH])
        with torch.inference_mode():
            encoded = patches(encoder(frames))  # [B, H/4 * W/4, C]
        if inspected is not None:
            encoded = encoded[:, torch.from_numpy(inspected)]
        for picture in encoded:
            order = torch.randperm(len(picture), generator=generator)
            drawn.append(picture[order[:each]])
        on_picture(len(frames))
    return torch.cat(drawn)


@dataclass(frozen=True, slots=True)
class Partition:
    """One level of the hierarchy."""

    labels: Tensor  # int64 [N], cluster of each point
    means: Tensor  # float32 [K, C], unit length


def first_neighbours(points: Tensor) -> Tensor:
    """Find the most similar other point of each: float32 [N, C] unit -> int64 [N], N >= 2."""
    found = []
    for start in range(0, len(points), _BLOCK):
        similarity = points[start : start + _BLOCK] @ points.T  # [block, N]
        rows = torch.arange(len(similarity))
        similarity[rows, rows + start] = -torch.inf
        found.append(similarity.argmax(dim=1))
    return torch.cat(found)


def finch(points: Tensor) -> list[Partition]:
    """Cluster float32 [N, C] unit vectors into partitions, from the finest to the coarsest.

    Equation 1 of the paper links i and j where one is the other's first neighbour or both share
    one. A shared neighbour makes a path of two links, so the connected components of the links
    i -> first(i) alone are the same clusters. Their means are the points of the next level.
    """
    partitions: list[Partition] = []
    labels, means = torch.arange(len(points)), points
    while len(means) > 1:
        groups, count = _components(first_neighbours(means))
        labels = groups[labels]
        means = _unit_means(points, labels, count)
        partitions.append(Partition(labels, means))
    return partitions


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose `count` points greedily, each the farthest from all chosen before it.

    The first is the one nearest to the mean. Every point of `points` then lies within twice the
    least possible distance of a chosen one (Gonzalez 1985): nothing rare is left out.

    Args:
        points: float32 [N, C], unit.
        count: how many at most; fewer where all that is left is a copy of a chosen one.

    Returns: int64 [K], indices into `points` in the order of choice.
    """
    chosen = [int((points @ points.mean(dim=0)).argmax())]
    nearest = points @ points[chosen[0]]  # cosine to the nearest chosen one
    for _ in range(min(count, len(points)) - 1):
        farthest = int(nearest.argmin())
        if nearest[farthest] >= 1 - _COPY:
            break
        chosen.append(farthest)
        nearest = torch.maximum(nearest, points @ points[farthest])
    return torch.tensor(chosen)


def _components(neighbours: Tensor) -> tuple[Tensor, int]:
    count = len(neighbours)
    links = coo_array(
        (np.ones(count, np.int8), (np.arange(count), neighbours.numpy())), shape=(count, count)
    )
    groups, labels = connected_components(links, directed=False)
    return torch.from_numpy(labels).long(), int(groups)


def _unit_means(points: Tensor, labels: Tensor, count: int) -> Tensor:
    sums = torch.zeros(count, points.shape[1]).index_add_(0, labels, points)
    return functional.normalize(sums, dim=1)
