"""PatchCore (Roth et al., CVPR 2022) on our backbones, to compare with; for measurements only.

Patches are the features of strides 8 and 16, each averaged over 3 x 3 neighbours and joined on the
finer grid (section 3.1). The memory bank is a greedy coreset of the normal patches (section 3.2),
chosen on all dimensions, without the random projection that the paper speeds it up with. A patch's
anomaly is the distance to its nearest in the bank; the picture's is its worst patch's, weighted by
how usual that neighbour is (section 3.3, equations 6 and 7).

The residual to whole-map prototypes before any training is the second baseline. Each satisfies the
Engine protocol, so it is judged like an engine.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.engine import ALL_MAPS, Pixels, Scores, check_frames
from trainer.networks.backbones import Backbone, Features
from trainer.networks.image_score import share_score
from trainer.networks.residual import grown

BANK_SHARE = 0.01  # of the normal patches
NEIGHBOURS = 9  # of the nearest in the bank, whose distances weigh the picture's score
_SIGMA = 4.0  # pixels, smoothing of the map
_TAPS = 33
_CANDIDATES = 1024  # patches among which centres are chosen before all others are looked at
_ROWS = 16_384  # patches compared at once
MAX_BATCH = 8


class PatchCore:
    """A memory bank of normal patches, and the distance to it."""

    max_batch = MAX_BATCH

    def __init__(self, backbone: Backbone, bank: Tensor, input_size: tuple[int, int]) -> None:
        """Take a bank of patches, float32 [M, C_2 + C_3]."""
        self.input_size = input_size
        self._backbone = backbone
        self._bank = bank

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score frames; maps are distances, not in 0..1."""
        del maps_above  # every map is in the host's memory anyway
        check_frames(frames, self.input_size, self.max_batch)
        with torch.inference_mode():
            patches = patches_of(encode(self._backbone, frames))  # [N, C, h, w]
            count, channels, height, width = patches.shape
            flat = patches.permute(0, 2, 3, 1).reshape(-1, channels)
            distance, nearest = torch.cdist(flat, self._bank).min(dim=1)
            distance, nearest = distance.view(count, -1), nearest.view(count, -1)
            worst = distance.argmax(dim=1)  # [N]
            rows = torch.arange(count)
            patch = flat.view(count, -1, channels)[rows, worst]
            scores = self._weighted(patch, distance[rows, worst], nearest[rows, worst])
            maps = grown(distance.view(count, height, width), self.input_size)
        return Scores(scores.numpy(), smoothed(maps.numpy()))

    def close(self) -> None:
        """Nothing is held."""

    def _weighted(self, patch: Tensor, distance: Tensor, nearest: Tensor) -> Tensor:
        """Weigh the worst patch's distance [N]: far from all its neighbour's neighbours, it counts.

        Equation 7: 1 - exp(d) / sum of exp(d_b) over the neighbours b of the nearest in the bank.
        """
        around = torch.cdist(self._bank[nearest], self._bank)  # [N, M]
        neighbours = around.topk(min(NEIGHBOURS, len(self._bank)), dim=1, largest=False).indices
        far = torch.linalg.vector_norm(patch[:, None] - self._bank[neighbours], dim=2)  # [N, b]
        weight = 1 - torch.exp(distance - torch.logsumexp(far, dim=1))
        return weight * distance


def learn_bank(
    backbone: Backbone, pixels: NDArray[np.uint8], share: float = BANK_SHARE, seed: int = 0
) -> Tensor:
    """Keep a share of all patches of normal pictures uint8 [N, H, W, 3]: float32 [M, C_2 + C_3]."""
    parts = [
        patches_of(features).permute(0, 2, 3, 1).flatten(0, 2)
        for features in encoded(backbone, pixels)
    ]
    every = torch.cat(parts)
    return every[coreset(every, max(1, int(share * len(every))), seed)]


def patches_of(features: Features) -> Tensor:
    """Join neighbourhood means of strides 8 and 16: float32 [N, C_2 + C_3, H/8, W/8]."""
    middle, coarse = (functional.avg_pool2d(each, 3, 1, 1) for each in features[1:])
    size = middle.shape[2:]
    coarse = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.cat([middle, coarse], dim=1)


def coreset(points: Tensor, count: int, seed: int) -> Tensor:
    """Choose points one by one, each the farthest from all chosen before; the first by seed.

    Distances to the chosen only fall. So among the `_CANDIDATES` farthest points, choosing may go
    on until all of them are nearer than every other point was: the others are looked at once for
    many choices, and the result is the same.

    Args:
        points: float32 [N, C].
        count: how many, 1..N.
        seed: of the first.

    Returns: int64 [count], indices in the order of choice.
    """
    generator = torch.Generator().manual_seed(seed)
    fresh = [int(torch.randint(len(points), (1,), generator=generator))]
    chosen = list(fresh)
    nearest = torch.full((len(points),), torch.inf)
    lengths = points.square().sum(dim=1)
    while len(chosen) < count:
        _approach(points, lengths, torch.tensor(fresh), nearest)
        fresh = _farthest(points, nearest, count - len(chosen))
        chosen += fresh
    return torch.tensor(chosen)


def _approach(points: Tensor, lengths: Tensor, fresh: Tensor, nearest: Tensor) -> None:
    """Lower `nearest` [N], squared distances, in place by the points `fresh`; theirs become 0."""
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        product = points[rows] @ points[fresh].T
        squared = lengths[rows, None] - 2 * product + lengths[fresh]
        torch.minimum(nearest[rows], squared.min(dim=1).values.clamp_min(0), out=nearest[rows])
    nearest[fresh] = -1.0  # never chosen twice, not even among copies


def _farthest(points: Tensor, nearest: Tensor, most: int) -> list[int]:
    """Choose up to `most`, at least one, as long as no point outside the candidates can be next."""
    farthest = nearest.topk(min(_CANDIDATES + 1, len(points)))
    limit = float(farthest.values[-1]) if len(farthest.values) > _CANDIDATES else -1.0
    candidates = farthest.indices[:_CANDIDATES]
    among, left = points[candidates], farthest.values[:_CANDIDATES].clone()
    chosen: list[int] = []
    while len(chosen) < min(most, len(candidates)):
        best = int(left.argmax())
        if left[best] < 0 or (chosen and left[best] < limit):
            break
        chosen.append(int(candidates[best]))
        torch.minimum(left, (among - among[best]).square().sum(dim=1), out=left)
        left[best] = -1.0
    return chosen


def smoothed(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth maps [N, H, W] by a Gaussian of 4 pixels."""
    return np.stack([np.asarray(cv2.GaussianBlur(each, (_TAPS, _TAPS), _SIGMA)) for each in maps])


class ResidualMap:
    """Squared difference to the nearest whole-map prototype, summed over channels and scales."""

    max_batch = MAX_BATCH

    def __init__(
        self, backbone: Backbone, prototypes: Features, input_size: tuple[int, int]
    ) -> None:
        """Take prototypes of each scale, float32 [K_j, C_j, H / stride_j, W / stride_j]."""
        self.input_size = input_size
        self._backbone = backbone
        self._prototypes = prototypes

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score frames; maps are sums of squares, not in 0..1."""
        del maps_above  # every map is in the host's memory anyway
        check_frames(frames, self.input_size, self.max_batch)
        with torch.inference_mode():
            features = encode(self._backbone, frames)
            maps = torch.zeros(len(frames), *self.input_size)
            for feature, prototypes in zip(features, self._prototypes, strict=True):
                maps += grown(nearest_residual(feature, prototypes), self.input_size)
            return Scores(share_score(maps).numpy(), maps.numpy())

    def close(self) -> None:
        """Nothing is held."""


def nearest_residual(features: Tensor, prototypes: Tensor) -> Tensor:
    """Squared difference to each picture's nearest prototype, summed over channels.

    Args:
        features: float32 [N, C, h, w].
        prototypes: float32 [K, C, h, w].

    Returns: float32 [N, h, w].
    """
    nearest = torch.cdist(features.flatten(1), prototypes.flatten(1)).argmin(dim=1)  # [N]
    return (features - prototypes[nearest]).square().sum(dim=1)


def encode(backbone: Backbone, frames: Pixels) -> Features:
    """Encode uint8 [N, H, W, 3] to float32 features of the three scales."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    mean = torch.tensor(backbone.mean).view(1, 3, 1, 1)
    std = torch.tensor(backbone.std).view(1, 3, 1, 1)
    features: Features = backbone((images - mean) / std)
    return features


def encoded(backbone: Backbone, pixels: NDArray[np.uint8]) -> Iterator[Features]:
    """Encode uint8 [N, H, W, 3] some pictures at a time."""
    for start in range(0, len(pixels), MAX_BATCH):
        with torch.inference_mode():
            yield encode(backbone, pixels[start : start + MAX_BATCH])
