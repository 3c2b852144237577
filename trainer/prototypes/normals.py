"""What training remembers of the normal pictures: their features, and their share in prototypes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.choices import PROTOTYPE_SHARE
from trainer.networks.backbones import Features
from trainer.networks.fusion import Scales
from trainer.networks.prn import Encoder, FeatureScale
from trainer.networks.residual import LeftOut, left_out_residual
from trainer.prototypes.whole_maps import (
    MapCache,
    WholeMaps,
    cache_maps,
    learn_whole_maps,
    prototype_count,
)

_BATCH = 8
_PLACES = 8  # a side, in which the residuals of pictures are compared
_ODD_PLACES = 6  # of these 64


@dataclass(frozen=True, slots=True)
class Normals:
    """Normal pictures that prototypes were made from."""

    pixels: NDArray[np.uint8]  # [N, H, W, 3]
    cache: MapCache
    maps: tuple[WholeMaps, WholeMaps, WholeMaps]

    @property
    def prototypes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the three scales, float32 [K_j, C_j, h_j, w_j]."""
        fine, middle, coarse = (each.prototypes for each in self.maps)
        return fine, middle, coarse

    @property
    def device(self) -> torch.device:
        """Where prototypes lie; features are brought there."""
        return self.maps[0].prototypes.device

    def sharing(self, prototypes: tuple[Tensor, Tensor, Tensor]) -> "Normals":
        """Take the same prototypes from elsewhere, such as from a network on a GPU."""
        fine, middle, coarse = (
            maps.beside(each) for maps, each in zip(self.maps, prototypes, strict=True)
        )
        return replace(self, maps=(fine, middle, coarse))

    def left_out(self, pictures: NDArray[np.intp], scale: int) -> LeftOut:
        """Set which normal picture each one of a batch was made from, [B]; -1: none."""
        device = self.device
        there = torch.from_numpy(pictures >= 0).to(device)
        under = np.maximum(pictures, 0)
        labels = self.maps[scale].labels[torch.from_numpy(under).to(device)]
        return LeftOut(
            maps=self.cache.take(scale, under, device),
            labels=torch.where(there, labels, -1),
            sizes=self.maps[scale].sizes[labels],
        )


def learn_normals(
    encoder: Encoder,
    pixels: NDArray[np.uint8],
    folder: Path,
    seed: int,
    on_pictures: Callable[[int], None] = lambda _: None,
    prototype_share: float = PROTOTYPE_SHARE,
) -> Normals:
    """Encode normal pictures, uint8 [N, H, W, 3], and make prototypes of them at each scale.

    Args:
        encoder: the frozen one.
        pixels: at least two pictures.
        folder: takes unnamed files of 0.9 MB a picture (at 256 x 256 with ResNet-18).
        seed: of the clustering.
        on_pictures: called with a number of pictures that were encoded.
        prototype_share: prototypes by normal pictures, above 0, at most 1.

    Raises:
        DatasetError: fewer than two pictures, or features out of range.
    """
    count = prototype_count(len(pixels), prototype_share)
    cache = cache_maps(lambda frames: encoder(frames)[1], pixels, folder, on_pictures)
    fine, middle, coarse = (learn_whole_maps(each, count, seed) for each in cache.scales)
    return Normals(pixels, cache, (fine, middle, coarse))


def residuals_of(normals: Normals, features: Features, pictures: NDArray[np.intp]) -> Scales:
    """Residuals of a batch with the normal picture under each left out.

    Args:
        normals: what prototypes were made from.
        features: of the batch, [B, C_j, h_j, w_j].
        pictures: which normal picture is under each, [B]; -1 where there is none.

    Returns: residuals of the same shapes.
    """
    fine, middle, coarse = (
        left_out_residual(feature, maps.prototypes, normals.left_out(pictures, scale))[0]
        for scale, (feature, maps) in enumerate(zip(features, normals.maps, strict=True))
    )
    return fine, middle, coarse


@dataclass(frozen=True, slots=True)
class NormalDistances:
    """How far normal pictures are from the nearest prototype that they are no part of."""

    feature_scale: FeatureScale  # the mean of all
    rarity: NDArray[np.float64]  # [N], how far the oddest places of each are from the usual there


def measure_normal_distances(normals: Normals) -> NormalDistances:
    """Compare every normal picture with the prototypes made without it.

    Rarity is the mean over the scales of what the oddest tenth of a picture's places have of the
    mean residual at the same places: a stain on one part does not drown in the grain of the whole.
    """
    count = len(normals.pixels)
    channels = [torch.zeros(maps.prototypes.shape[1]) for maps in normals.maps]
    distances = torch.zeros(3)
    places = torch.zeros(3, count, _PLACES * _PLACES)
    for start in range(0, count, _BATCH):
        pictures = np.arange(start, min(start + _BATCH, count))
        fine, middle, coarse = (normals.cache.take(scale, pictures) for scale in range(3))
        residuals = residuals_of(normals, (fine, middle, coarse), pictures)
        for scale, residual in enumerate(residuals):
            channels[scale] += residual.mean(dim=(2, 3)).sum(dim=0)
            distances[scale] += residual.sum()
            grid = functional.adaptive_avg_pool2d(residual.mean(dim=1), _PLACES)
            places[scale, start : start + len(pictures)] = grid.flatten(1)
    fine, middle, coarse = (_positive(total / count) for total in channels)
    feature_scale = FeatureScale((fine, middle, coarse), _positive(distances / count))
    odd = places / places.mean(dim=1, keepdim=True).clamp_min(1e-12)
    rarity = odd.topk(_ODD_PLACES, dim=2).values.mean(dim=(0, 2))
    return NormalDistances(feature_scale, rarity.double().numpy())


def _positive(usual: Tensor) -> Tensor:
    """Keep a channel that is always the same from dividing by zero."""
    return usual.clamp_min(1e-3 * float(usual.mean())).clamp_min(1e-12)
