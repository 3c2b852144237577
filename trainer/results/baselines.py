"""What engines are compared with: the residual to whole-map prototypes, before any training.

For measurements only. Each baseline satisfies the Engine protocol, so it is judged like an engine.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.engine import ALL_MAPS, Pixels, Scores, check_frames
from trainer.networks.backbones import Backbone, Features
from trainer.networks.image_score import share_score
from trainer.networks.residual import grown

MAX_BATCH = 8


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
