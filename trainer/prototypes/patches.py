"""Prototypes of normal patches: FINCH averages away the noise, farthest points keep the rare.

A coarse partition's means lose rare normal patterns, which then raise false alarms; farthest
points among raw patches spend themselves on noise and know the common patterns badly. So: means
of FINCH's finest partition, and of these the farthest points. docs/experiments.md, "Which
prototypes", has the figures.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.networks.proto_ad import PatchEncoder, patches
from trainer.prototypes.clustering import farthest_points, finch

PROTOTYPES = 1000
SAMPLED_PATCHES = 20_000  # FINCH's cost grows with their square
_BATCH = 8


def learn_prototypes(sample: Tensor, count: int = PROTOTYPES) -> Tensor:
    """Choose prototypes for patches, float32 [N, C] unit -> float32 [K, C] unit, K <= `count`."""
    means = finch(sample)[0].means
    return means[farthest_points(means, count)]


def sample_patches(
    encoder: PatchEncoder,
    pixels: NDArray[np.uint8],
    seed: int,
    on_picture: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Draw patches of normal pictures, the same number from each.

    Args:
        encoder: what makes patches.
        pixels: uint8 [N, H, W, 3].
        seed: of the draw.
        on_picture: called with a number of pictures that were seen.

    Returns: float32 [about SAMPLED_PATCHES, C], unit length.
    """
    generator = torch.Generator().manual_seed(seed)
    each = -(-SAMPLED_PATCHES // len(pixels))
    drawn = []
    for start in range(0, len(pixels), _BATCH):
        frames = torch.from_numpy(pixels[start : start + _BATCH])
        with torch.inference_mode():
            encoded = patches(encoder(frames))  # [B, H/4 * W/4, C]
        for picture in encoded:
            order = torch.randperm(len(picture), generator=generator)
            drawn.append(picture[order[:each]])
        on_picture(len(frames))
    return torch.cat(drawn)
