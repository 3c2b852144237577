"""ProtoAD: distance of every patch to its nearest normal prototype (arXiv 2310.02576).

A patch x joins the features of the three scales at one place of the finest grid, the coarser ones
repeated; each scale has unit length before they are joined, so x has unit length and
cos(x, m_k) = sum_j <f_j, m_kj>. Repeating commutes with the product, so each scale's 1x1
convolution runs on its own grid (a quarter of the work), and only its result is repeated and
added. Map = 1 - max_k cos(x, m_k), smoothed over neighbouring patches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.networks.backbones import Backbone, Features
from trainer.networks.image_score import share_score

_CHUNK = 256  # prototypes compared at once: bounds memory to [N, _CHUNK, H/4, W/4]
_SMOOTH = 1.25  # sigma of the map's smoothing, in patches of 4 pixels
_EPS = 1e-12


class PatchEncoder(nn.Module):
    """uint8 RGB pictures -> features of three scales, each of length 1/sqrt(3)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(backbone.std).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Features:
        """Encode uint8 [N, H, W, 3], H and W multiples of 16.

        Returns: float32 [N, C_j, H / stride_j, W / stride_j] for each scale j.
        """
        images = frames.float().permute(0, 3, 1, 2)  # [N, 3, H, W]; TensorRT turns no uint8
        fine, middle, coarse = self.backbone((images - self.mean) * self.scale)
        return _unit(fine), _unit(middle), _unit(coarse)


class _Chunk(nn.Module):
    """Some of the prototypes, as the kernels of one 1x1 convolution per scale."""

    fine: Tensor
    middle: Tensor
    coarse: Tensor

    def __init__(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> None:
        super().__init__()
        self.register_buffer("fine", fine[:, :, None, None].contiguous())  # [K, C_1, 1, 1]
        self.register_buffer("middle", middle[:, :, None, None].contiguous())
        self.register_buffer("coarse", coarse[:, :, None, None].contiguous())

    def forward(self, features: Features) -> Tensor:
        """Cosine to the nearest of them at each place, float32 [N, 1, H/4, W/4]."""
        fine, middle, coarse = features
        joined = _doubled(functional.conv2d(coarse, self.coarse))
        joined = _doubled(joined + functional.conv2d(middle, self.middle))
        joined = joined + functional.conv2d(fine, self.fine)  # [N, K, H/4, W/4]
        return joined.amax(dim=1, keepdim=True)


class ProtoAD(nn.Module):
    """The whole graph of the engine file: frames in; score, map and evidence out."""

    prototypes: Tensor
    kernel: Tensor

    def __init__(self, encoder: PatchEncoder, prototypes: Tensor) -> None:
        """Take unit prototypes, float32 [K, C_1 + C_2 + C_3], K >= 1."""
        super().__init__()
        self.encoder = encoder
        channels = list(encoder.backbone.channels)
        chunks = torch.split(prototypes, _CHUNK)
        self.chunks = nn.ModuleList(_Chunk(*torch.split(c, channels, dim=1)) for c in chunks)
        self.register_buffer("prototypes", prototypes.T.contiguous())  # [C, K]
        self.register_buffer("kernel", _gaussian(_SMOOTH))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Judge uint8 [N, H, W, 3] RGB.

        Returns: score float32 [N], map float32 [N, H, W] in 0..1, and of the patch that is
        farthest from all prototypes: the nearest one's index int32 [N, 1], its distance
        float32 [N, 1].
        """
        height, width = frames.shape[1:3]
        features = self.encoder(frames)
        distance = 1 - self._best(features)  # [N, 1, H/4, W/4]
        maps = self._grown(distance, (height, width))[:, 0].clamp(0, 1)  # [N, H, W]
        peak = distance.flatten(1).argmax(dim=1)  # [N]
        index, nearest = self._evidence(features, peak)
        return share_score(maps), maps, index, nearest

    def _best(self, features: Features) -> Tensor:
        best: Tensor = self.chunks[0](features)
        for chunk in self.chunks[1:]:
            best = torch.maximum(best, chunk(features))
        return best

    def _grown(self, distance: Tensor, size: tuple[int, int]) -> Tensor:
        """Smooth and enlarge [N, 1, H/4, W/4] to [N, 1, H, W]; borders repeat."""
        reach = self.kernel.shape[2] // 2
        padded = functional.pad(distance, (reach, reach, reach, reach), mode="replicate")
        smooth = functional.conv2d(padded, self.kernel)
        return functional.interpolate(smooth, size=size, mode="bilinear", align_corners=False)

    def _evidence(self, features: Features, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest prototype of the patch `peak` [N]: index int32 [N, 1], distance [N, 1]."""
        width = features[0].shape[3]
        row, column = peak // width, peak % width
        parts = []
        for step, feature in zip((1, 2, 4), features, strict=True):
            place = (row // step) * (width // step) + column // step  # [N]
            index = place[:, None, None].expand(-1, feature.shape[1], 1)
            parts.append(feature.flatten(2).gather(2, index)[:, :, 0])  # [N, C_j]
        best, nearest = (torch.cat(parts, dim=1) @ self.prototypes).max(dim=1, keepdim=True)
        return nearest.int(), 1 - best


def patches(features: Features) -> Tensor:
    """Join the scales on the finest grid: float32 [N, H/4 * W/4, C_1 + C_2 + C_3], unit length."""
    fine, middle, coarse = features
    joined = torch.cat([fine, _doubled(middle), _doubled(_doubled(coarse))], dim=1)
    return joined.flatten(2).transpose(1, 2)


def _unit(feature: Tensor) -> Tensor:
    """Scale [N, C, h, w] to length 1/sqrt(3) at each place, so three joined have length 1."""
    norm = feature.square().sum(dim=1, keepdim=True).clamp_min(_EPS).sqrt()
    return feature / (norm * 3**0.5)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _gaussian(sigma: float) -> Tensor:
    """Make a normalised 9 x 9 Gaussian, float32 [1, 1, 9, 9]."""
    line = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / sigma).square())
    kernel = line[:, None] * line[None, :]
    return (kernel / kernel.sum())[None, None]
