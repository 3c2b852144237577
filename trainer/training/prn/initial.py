"""From normal pictures to an untrained PRN and what its training remembers of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.choices import PROTOTYPE_SHARE
from trainer.errors import DatasetError
from trainer.networks.backbones import Backbone, read_tensors
from trainer.networks.prn import PRN, Encoder, Head, NetworkParts, PrnConfig
from trainer.prototypes.normals import Normals, learn_normals, measure_normal_distances

STRIDE = 32  # of the bottleneck, in pixels


@dataclass(frozen=True, slots=True)
class InitialPrn:
    """A network with prototypes and fresh weights."""

    network: PRN
    normals: Normals
    rarity: NDArray[np.float64]  # [N], how unlike the others each normal picture is


def make_prn(
    backbone: Backbone,
    pixels: NDArray[np.uint8],
    config: PrnConfig,
    parts: NetworkParts,
    folder: Path,
    seed: int,
    on_pictures: Callable[[int], None] = lambda _: None,
    prototype_share: float = PROTOTYPE_SHARE,
) -> InitialPrn:
    """Make prototypes of normal pictures, and a head with weights drawn by `seed`.

    Args:
        backbone: frozen, with its weights.
        pixels: uint8 [N, H, W, 3], H and W multiples of 32, N >= 2.
        config: sizes of the head.
        parts: parts of the head.
        folder: takes the unnamed files of the normal pictures' features.
        seed: of the prototypes and the weights.
        on_pictures: called with a number of pictures that were encoded.
        prototype_share: prototypes by normal pictures, above 0, at most 1.

    Raises:
        DatasetError: fewer than two pictures, of a size that does not fit, or features out of
            range.
    """
    height, width = pixels.shape[1:3]
    if height % STRIDE or width % STRIDE:
        raise DatasetError(
            f"pictures of {height}x{width} (height x width) do not fit PRN: take sides that "
            f"{STRIDE} divides, such as 256"
        )
    encoder = Encoder(backbone).eval()
    normals = learn_normals(encoder, pixels, folder, seed, on_pictures, prototype_share)
    distances = measure_normal_distances(normals)
    torch.manual_seed(seed)
    head = Head(config, parts, backbone, distances.feature_scale)
    head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = PRN(
        encoder, normals.prototypes, head, distances.feature_scale, residual_map=parts.residual_map
    )
    return InitialPrn(network, normals, distances.rarity)


def load_layer4(head: Head, weights: Path) -> bool:
    """Begin the paper's bottleneck from ImageNet weights, where a file has them.

    Args:
        head: of the plan `prn`, on ResNet-18.
        weights: torchvision's resnet18, .pth or .safetensors.

    Returns: whether the file holds a fourth stage.

    Raises:
        WeightsError: the file is unreadable.
    """
    start = "layer4."
    found = {
        name.removeprefix(start): tensor
        for name, tensor in read_tensors(weights).items()
        if name.startswith(start)
    }
    wanted = {name for name in head.bottom.state_dict() if not name.endswith("tracked")}
    if not wanted <= set(found):
        return False
    head.bottom.load_state_dict(found, strict=False)
    return True
