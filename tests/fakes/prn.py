"""A PRN small enough to be trained in a test, and pictures for it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.networks.backbones import Backbone, Features
from trainer.networks.prn import PRN_CONFIGS, NetworkParts, PrnConfig
from trainer.training.prn.initial import InitialPrn, make_prn

SIZE = 32
TINY: PrnConfig = PrnConfig(
    widths=(4, 4, 8),
    compressed=True,
    attention_blocks=1,
    attention_share=0.5,
    comparison="cosine",
    bottleneck="compact",
    bottom=8,
    decoder=(4, 4, 8),
    tail=(4,),
    stem_skip=True,
)
TINY_PAPER: PrnConfig = PrnConfig(
    widths=None,
    compressed=False,
    attention_blocks=2,
    attention_share=1,
    comparison="scaled",
    bottleneck="layer4",
    bottom=16,
    decoder=(4, 8, 8),
    tail=(8, 4),
    stem_skip=False,
)
assert PRN_CONFIGS["prn-s"].stem_skip


class TinyBackbone(Backbone):
    """Four convolutions with the strides of a real encoder, frozen like one."""

    stem_channels = 4
    channels = (4, 8, 12)
    mean = (120.0, 120.0, 120.0)
    std = (60.0, 60.0, 60.0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.fine = nn.Conv2d(4, 4, 3, 2, 1)
        self.middle = nn.Conv2d(4, 8, 3, 2, 1)
        self.coarse = nn.Conv2d(8, 12, 3, 2, 1)
        self.requires_grad_(requires_grad=False).train()

    def stem(self, images: Tensor) -> Tensor:
        return functional.relu(self.first(images))

    def scales(self, stem: Tensor) -> Features:
        fine = functional.relu(self.fine(stem))
        middle = functional.relu(self.middle(fine))
        return fine, middle, functional.relu(self.coarse(middle))


@dataclass(frozen=True, slots=True)
class Squares:
    """Batches of normal pictures, half of them with a bright square: a stand-in for synthesis."""

    normals: NDArray[np.uint8]
    seed: int = 0
    size: int = 4

    def batch(self, step: int) -> "SquareBatch":
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(0, len(self.normals), self.size)
        frames = self.normals[chosen].copy()
        masks = np.zeros((self.size, *frames.shape[1:3]), np.float32)
        for picture in range(self.size // 2, self.size):
            row, column = rng.integers(0, frames.shape[1] - 8, 2)
            frames[picture, row : row + 8, column : column + 8] = 255
            masks[picture, row : row + 8, column : column + 8] = 1
        chosen[-1] = -1  # as if it were a raw seen anomaly
        return SquareBatch(frames, masks, chosen)


@dataclass(frozen=True, slots=True)
class SquareBatch:
    frames: NDArray[np.uint8]
    masks: NDArray[np.float32]
    normals: NDArray[np.intp]


def normal_pictures(count: int = 20, size: int = SIZE) -> NDArray[np.uint8]:
    """Dark gradients with a little noise."""
    rng = np.random.default_rng(5)
    slope = np.linspace(40, 120, size)[:, None, None] + np.zeros((size, size, 3))
    shift = rng.uniform(-20, 20, (count, 1, 1, 1))
    return (slope + shift + rng.normal(0, 4, (count, size, size, 3))).clip(0, 255).astype(np.uint8)


def tiny_prn(
    folder: Path, config: PrnConfig = TINY, parts: NetworkParts | None = None, seed: int = 1
) -> InitialPrn:
    return make_prn(
        TinyBackbone(), normal_pictures(), config, parts or NetworkParts(), folder, seed
    )
