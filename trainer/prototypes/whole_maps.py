"""Whole-map prototypes: for each scale, k-means over the feature maps of the normal pictures.

The maps of N pictures (1.8 MB each in float32 at 256 x 256) do not have to fit into memory: they
lie as float16 in unnamed files that are mapped, so the machine keeps what it has room for and
drops the rest, and a killed training leaves nothing behind. In memory are two blocks of
`_BLOCK` maps for the Gram matrix, and one map for the means. Rounding to float16 moves a
prototype by less than 1/2048 of its values; the maps also serve leaving one out in training.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.choices import PROTOTYPE_SHARE
from trainer.errors import DatasetError
from trainer.networks.backbones import Features
from trainer.prototypes.gram_clustering import Grams, Labels, cluster

CPU = torch.device("cpu")
_BLOCK = 32  # maps in memory at once, twice
_BATCH = 8  # pictures encoded at once

Maps = NDArray[np.float16]  # [N, h, w, C]


@dataclass(frozen=True, slots=True)
class WholeMaps:
    """Prototypes of one scale, and which normal pictures each was made from."""

    prototypes: Tensor  # float32 [K, C, h, w], channels last in memory
    labels: Tensor  # int64 [N], prototype that each normal picture is part of
    sizes: Tensor  # int64 [K], pictures in each

    def beside(self, prototypes: Tensor) -> "WholeMaps":
        """Take the same prototypes from elsewhere, and the rest to their device."""
        device = prototypes.device
        return WholeMaps(prototypes, self.labels.to(device), self.sizes.to(device))


@dataclass(frozen=True, slots=True)
class MapCache:
    """Feature maps of all normal pictures at the three scales, in mapped files."""

    scales: tuple[Maps, Maps, Maps]

    def take(self, scale: int, pictures: NDArray[np.intp], device: torch.device = CPU) -> Tensor:
        """Read maps of some pictures: float32 [B, C, h, w], channels last in memory."""
        rows = np.ascontiguousarray(self.scales[scale][pictures])
        return torch.from_numpy(rows).to(device).float().permute(0, 3, 1, 2)


def prototype_count(normals: int, share: float = PROTOTYPE_SHARE) -> int:
    """How many prototypes `normals` pictures give, where they are a `share` of them, 0..1.

    Raises:
        DatasetError: fewer than two pictures, so that none could be left out.
    """
    if normals < 2:  # noqa: PLR2004  # one left out, one to compare it with
        raise DatasetError(
            f"{normals} picture of normal parts gives no prototypes: at least 2 are needed, "
            "better 100"
        )
    return max(1, int(share * normals + 1e-9))


def cache_maps(
    encode: Callable[[Tensor], Features],
    pixels: NDArray[np.uint8],
    folder: Path,
    on_pictures: Callable[[int], None] = lambda _: None,
) -> MapCache:
    """Encode pictures, uint8 [N, H, W, 3], and keep their maps in unnamed files in `folder`.

    Raises:
        DatasetError: a feature does not fit into float16, or the files not on the disk.
    """
    scales: list[Maps] = []
    for start in range(0, len(pixels), _BATCH):
        with torch.no_grad():
            features = encode(torch.from_numpy(pixels[start : start + _BATCH]))
        if not scales:
            scales = [_mapped(folder, (len(pixels), *_last(each).shape[1:])) for each in features]
        for maps, feature in zip(scales, features, strict=True):
            maps[start : start + len(feature)] = _half(feature)
        on_pictures(len(features[0]))
    fine, middle, coarse = scales
    return MapCache((fine, middle, coarse))


def learn_whole_maps(maps: Maps, count: int, seed: int) -> WholeMaps:
    """Cluster the maps of one scale by exact k-means, and form the means once at the end.

    Args:
        maps: float16 [N, h, w, C].
        count: prototypes wanted; fewer where pictures are copies of each other.
        seed: of the clustering.

    Raises:
        DatasetError: fewer pictures than prototypes.
    """
    if not 1 <= count <= len(maps):
        raise DatasetError(
            f"{count} prototypes of {len(maps)} pictures of normal parts: give more pictures"
        )
    labels = cluster(gram_matrix(maps), count, seed)
    means = [_mean(maps, np.flatnonzero(labels == each)) for each in range(labels.max() + 1)]
    return WholeMaps(
        prototypes=torch.from_numpy(np.stack(means)).permute(0, 3, 1, 2),
        labels=torch.from_numpy(labels),
        sizes=torch.from_numpy(np.bincount(labels)),
    )


def gram_matrix(maps: Maps) -> Grams:
    """Inner products of maps less their mean, [N, N]: without it most of each would cancel."""
    centre = _mean(maps, np.arange(len(maps))).ravel()
    starts = range(0, len(maps), _BLOCK)
    gram = np.empty((len(maps), len(maps)), np.float64)
    for row in starts:
        left = _rows(maps, row) - centre
        for column in starts[: row // _BLOCK + 1]:
            right = left if column == row else _rows(maps, column) - centre
            product = left @ right.T
            gram[row : row + len(left), column : column + len(right)] = product
            gram[column : column + len(right), row : row + len(left)] = product.T
    return gram


def _mean(maps: Maps, pictures: Labels) -> NDArray[np.float32]:
    """Mean of some maps, [h, w, C], summed in float64 one by one."""
    total = np.zeros(maps.shape[1:], np.float64)
    for picture in pictures:
        total += maps[picture]
    return (total / len(pictures)).astype(np.float32)


def _rows(maps: Maps, start: int) -> NDArray[np.float32]:
    block = maps[start : start + _BLOCK]
    return block.reshape(len(block), -1).astype(np.float32)


def _mapped(folder: Path, shape: Sequence[int]) -> Maps:
    """Map a file with every page claimed: of one only made long, a full disk ends in SIGBUS."""
    needed = math.prod(shape) * np.dtype(np.float16).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="maps-") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
            return np.memmap(file, np.float16, mode="r+", shape=tuple(shape))
    except OSError as error:
        free = shutil.disk_usage(folder).free
        raise DatasetError(
            f"feature maps of {shape[0]} pictures need {_mib(needed)} MiB more in {folder}, "
            f"{_mib(free)} MiB are free ({error.strerror}): make room, or take fewer pictures "
            "(--max-normals)"
        ) from error


def _mib(size: int) -> int:
    return -(-size // 2**20)


def _last(feature: Tensor) -> Tensor:
    return feature.permute(0, 2, 3, 1)


def _half(feature: Tensor) -> Maps:
    half: Maps = _last(feature).half().cpu().numpy()
    if not np.isfinite(half).all():
        raise DatasetError(
            "a feature of a normal picture does not fit into float16: these weights are not "
            "those of an ImageNet encoder"
        )
    return half
