"""The prototype residual in torch: for inference and export, and for training with one left out.

A normal picture is part of its own prototype, so its residual is smaller than that of a picture
never seen, and a network would learn the difference. In training its cluster is therefore taken
without it. With n pictures of mean c, the mean without x0 is c + (c - x0) / (n - 1), exactly, and
x0 is the normal picture also where an anomaly was made on it. A cluster of one picture is left out
altogether.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.residual.operator import ATTRIBUTES, DOMAIN, OPERATOR, VERSION
from trainer.networks.backbones import Features

Residual = tuple[Tensor, Tensor, Tensor]
"""Residual float32 [N, C, h, w], index int32 [N], squared distance float32 [N]."""
Compared = tuple[Features, Tensor, Tensor]
"""Residuals of three scales, index int32 [N, 3], squared distance float32 [N, 3]."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The normal picture under each picture of a batch, at one scale."""

    maps: Tensor  # float32 [N, C, h, w], features of the normal picture; any where there is none
    labels: Tensor  # int64 [N], the prototype that it is part of; -1 where there is none
    sizes: Tensor  # int64 [N], pictures in that prototype


class PrototypeResidual(nn.Module):
    """Squared difference to the nearest whole-map prototype of one scale."""

    prototypes: Tensor

    def __init__(self, prototypes: Tensor) -> None:
        """Take prototypes, float32 [K, C, h, w], K >= 1."""
        super().__init__()
        self.register_buffer("prototypes", prototypes)

    def forward(self, features: Tensor) -> Residual:
        """Compare float32 [N, C, h, w] with the prototypes."""
        index = _gaps(features, self.prototypes).argmin(dim=1)
        return _squared(features, self.prototypes[index], index)


def compare_scales(features: Features, compared: Sequence[PrototypeResidual]) -> Compared:
    """Compare the features of all scales, each with its own prototypes; one node where exported."""
    if torch.onnx.is_in_onnx_export():
        return _node(features, compared)
    found = [each(feature) for each, feature in zip(compared, features, strict=True)]
    fine, middle, coarse = (residual for residual, _, _ in found)
    index = torch.stack([nearest for _, nearest, _ in found], dim=1)
    distance = torch.stack([far for _, _, far in found], dim=1)
    return (fine, middle, coarse), index, distance


def left_out_residual(features: Tensor, prototypes: Tensor, left: LeftOut) -> tuple[Tensor, Tensor]:
    """Compare features with the prototypes made without the normal picture under each.

    Args:
        features: float32 [N, C, h, w].
        prototypes: float32 [K, C, h, w]; K >= 2 where a cluster of one picture is left out.
        left: which normal picture is under each.

    Returns: residual float32 [N, C, h, w], index int64 [N].
    """
    gaps = _gaps(features, prototypes)
    own = left.labels.tolist()
    without: dict[int, Tensor] = {}
    for picture, label in enumerate(own):
        size = int(left.sizes[picture])
        if label >= 0 and size > 1:
            mean, member = prototypes[label], left.maps[picture]
            without[picture] = torch.lerp(member, mean, size / (size - 1))  # [C, h, w]
            gaps[picture, label] = _gap(features[picture], without[picture])
        elif label >= 0:
            gaps[picture, label] = torch.inf
    index = gaps.argmin(dim=1)
    residual = torch.empty_like(features)
    # Picture by picture: a map stays in the processor's cache, a batch of them does not.
    for picture, chosen in enumerate(index.tolist()):
        nearest = without[picture] if chosen == own[picture] else prototypes[chosen]
        torch.sub(features[picture], nearest, out=residual[picture]).square_()
    return residual, index


def grown(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge float32 [N, h, w] to [N, *size], bilinear."""
    larger = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)
    return larger[:, 0]


def _gap(feature: Tensor, other: Tensor) -> Tensor:
    """Squared distance of a map to another, [C, h, w], less the square of the first."""
    rows, kernel = _rows(feature[None])[0], _rows(other[None])[0]
    return torch.dot(kernel, kernel) - 2 * torch.dot(kernel, rows)


def _gaps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Squared distance less |F|^2, which is the same for all prototypes: float32 [N, K]."""
    rows, kernels = _rows(features), _rows(prototypes)
    norms = kernels.square().sum(dim=1)
    return norms - 2 * rows @ kernels.T


def _rows(maps: Tensor) -> Tensor:
    """Flatten [N, C, h, w] to [N, h * w * C], without a copy where channels are last in memory."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1)


def _squared(features: Tensor, chosen: Tensor, index: Tensor) -> Residual:
    residual = (features - chosen).square()
    return residual, index.int(), residual.sum((1, 2, 3))


def _node(features: Features, compared: Sequence[PrototypeResidual]) -> Compared:
    """Emit the node of `prn::PrototypeResidual`; engines.residual.function has its body."""
    inputs = [
        tensor
        for feature, each in zip(features, compared, strict=True)
        for tensor in (feature, each.prototypes)
    ]
    count, scales = features[0].shape[0], len(compared)
    fine, middle, coarse, index, distance = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{OPERATOR}",
        inputs,
        dict(ATTRIBUTES),
        dtypes=(*(feature.dtype for feature in features), torch.int32, torch.float32),
        shapes=(*(feature.shape for feature in features), (count, scales), (count, scales)),
        version=VERSION,
    )
    return (fine, middle, coarse), index, distance
