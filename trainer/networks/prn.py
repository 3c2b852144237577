"""Prototypical Residual Network (arXiv 2212.02031): frozen encoder, residuals, trainable head.

Frames become a stem and features at strides 4, 8, 16. The features, and their residuals to the
nearest whole-map prototypes, are each fused over the scales and joined; attention, a second fusion
and a U-Net decoder make the map of them.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.choices import PrnSize
from trainer.networks.attention import GRIDS, MultiSizeAttention, Similarity
from trainer.networks.backbones import Backbone, Features
from trainer.networks.decoder import Decoder, compact_bottleneck, layer4
from trainer.networks.fusion import Fusion, Scales, Unfused, Widths, convolution
from trainer.networks.image_score import image_score
from trainer.networks.residual import PrototypeResidual, compare_scales, grown

# In the map, of a place as far from the prototypes as it usually is; chosen on the test parts of
# four categories (docs/experiments.md).
RESIDUAL_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class PrnConfig:
    """Sizes of a head."""

    widths: Widths | None  # of features and of residuals, each; None: as the encoder gives them
    compressed: bool  # log1p of the residual over its usual size, instead of the plain square
    attention_blocks: int
    attention_share: float  # of the channels, that attention works with
    comparison: Similarity
    bottleneck: Literal["layer4", "compact"]
    bottom: int  # channels at stride 32
    decoder: Widths  # channels at strides 4, 8, 16
    tail: tuple[int, ...]  # channels above, each at half the stride
    stem_skip: bool


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """The parts of the network, each of which can be left out to see what it is worth."""

    prototypes: bool = True  # MP: the branch of residuals
    fusion: bool = True  # MF
    attention: bool = True  # MSA
    residual_map: bool = True  # RM, ours: the untrained residual, faintly, in the map


PRN_CONFIGS: dict[PrnSize, PrnConfig] = {
    "prn": PrnConfig(
        widths=None,
        compressed=False,
        attention_blocks=2,
        attention_share=1,
        comparison="scaled",
        bottleneck="layer4",
        bottom=512,
        decoder=(64, 128, 256),
        tail=(48, 32),
        stem_skip=False,
    ),
    "prn-s": PrnConfig(
        widths=(24, 48, 96),
        compressed=True,
        attention_blocks=1,
        attention_share=0.5,
        comparison="cosine",
        bottleneck="compact",
        bottom=128,
        decoder=(24, 48, 96),
        tail=(16,),
        stem_skip=True,
    ),
}


@dataclass(frozen=True, slots=True)
class FeatureScale:
    """How far a normal picture is from the nearest prototype that it is no part of."""

    channels: tuple[Tensor, Tensor, Tensor]  # float32 [C_j], mean squared difference
    distances: Tensor  # float32 [3], mean of the squared distance


class Encoder(nn.Module):
    """uint8 RGB pictures -> stem and features, without a gradient."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(backbone.std).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> tuple[Tensor, Features]:
        """Encode uint8 [N, H, W, 3], H and W multiples of 32.

        Returns: stem float32 [N, C, H/2, W/2]; features float32 [N, C_j, H / stride_j, ...].
        """
        stem = self.stem(frames)
        return stem, self.backbone.scales(stem)

    def stem(self, frames: Tensor) -> Tensor:
        """Encode up to the stem only."""
        if frames.device != self.mean.device:
            frames = frames.to(self.mean.device)
        images = frames.float().permute(0, 3, 1, 2)  # [N, 3, H, W]; TensorRT turns no uint8
        stem: Tensor = self.backbone.stem((images - self.mean) * self.scale)
        return stem


class _Entry(nn.Module):
    """Where features or residuals of one scale come in."""

    usual: Tensor

    def __init__(self, usual: Tensor | None, body: nn.Module) -> None:
        """Take the usual size of each channel, [C], to compress by; None: nothing is compressed."""
        super().__init__()
        self.register_buffer("usual", None if usual is None else (1 / usual)[:, None, None])
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """From [N, C, h, w] to [N, width, h, w]."""
        entered: Tensor = self.body(x if self.usual is None else (x * self.usual).log1p())
        return entered


class Head(nn.Module):
    """All that is trained: from stem, features and residuals to logits."""

    def __init__(
        self,
        config: PrnConfig,
        parts: NetworkParts,
        backbone: Backbone,
        feature_scale: FeatureScale,
    ) -> None:
        super().__init__()
        channels = backbone.channels
        width = config.widths or channels
        branches = 2 if parts.prototypes else 1
        joined: Widths = (width[0] * branches, width[1] * branches, width[2] * branches)
        blocks = config.attention_blocks if parts.attention else 0
        self.features = nn.ModuleList(
            _feature_entry(c, config.widths, j) for j, c in enumerate(channels)
        )
        self.fuse_features = _fusion(width, parts)
        self.residuals = (
            nn.ModuleList(_residual_entry(feature_scale.channels[j], config, j) for j in range(3))
            if parts.prototypes
            else None
        )
        self.fuse_residuals = _fusion(width, parts) if parts.prototypes else None
        self.attend = nn.ModuleList(
            nn.Sequential(*(_attention(width, config) for _ in range(blocks))) for width in joined
        )
        self.fuse_joined = _fusion(joined, parts)
        make_bottom = layer4 if config.bottleneck == "layer4" else compact_bottleneck
        self.bottom = make_bottom(channels[2], config.bottom)
        stem = backbone.stem_channels if config.stem_skip else 0
        self.decode = Decoder(config.bottom, joined, config.decoder, config.tail, stem)

    def forward(self, stem: Tensor, features: Features, residuals: Scales) -> Tensor:
        """Return logits, float32 [N, 1, H, W]."""
        seen: Scales = self.fuse_features(_entered(self.features, features))
        if self.residuals is not None and self.fuse_residuals is not None:
            odd: Scales = self.fuse_residuals(_entered(self.residuals, residuals))
            fine, middle, coarse = (torch.cat(pair, dim=1) for pair in zip(seen, odd, strict=True))
            seen = fine, middle, coarse
        fused: Scales = self.fuse_joined(_entered(self.attend, seen))
        logits: Tensor = self.decode(self.bottom(features[2]), fused, stem)
        return logits


class PRN(nn.Module):
    """The whole graph of the engine file: frames in; score, map and evidence out."""

    usual_distances: Tensor

    def __init__(
        self,
        encoder: Encoder,
        prototypes: tuple[Tensor, Tensor, Tensor],
        head: Head,
        feature_scale: FeatureScale,
        *,
        residual_map: bool = True,
    ) -> None:
        """Take prototypes of the three scales, float32 [K_j, C_j, h_j, w_j].

        Where the head has learned the prototypes and `residual_map` is set, the map is that of the
        head, p, or else a hundredth of the untrained residual, r: p + r - p r. So of places that
        nobody taught those rank first that are unlike all normal pictures. The score is p's alone.
        """
        super().__init__()
        self._shows_residuals = residual_map and head.residuals is not None
        self.encoder = encoder
        self.residuals = nn.ModuleList(PrototypeResidual(each) for each in prototypes)
        self.head = head
        self.register_buffer("usual_distances", feature_scale.distances)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Judge uint8 [N, H, W, 3] RGB.

        Returns: score float32 [N] in 0..1, map float32 [N, H, W] in 0..1, for each scale the index
        of the nearest prototype int32 [N, 3] and its squared distance float32 [N, 3], where 1 is
        the mean of normal pictures.
        """
        logits, residuals, nearest, distance = self._compared(frames)
        maps = logits.sigmoid()
        score = image_score(maps)
        if self._shows_residuals:
            odd = (RESIDUAL_WEIGHT * self._oddness(residuals, frames)).clamp(max=1)
            maps = maps + odd - maps * odd
        return score, maps, nearest, distance / self.usual_distances

    def logits(self, frames: Tensor) -> Tensor:
        """Logit of each pixel, float32 [N, H, W], of uint8 [N, H, W, 3]."""
        return self._compared(frames)[0]

    @property
    def compared(self) -> tuple[PrototypeResidual, PrototypeResidual, PrototypeResidual]:
        """What compares features with prototypes, for each scale."""
        fine, middle, coarse = self.residuals
        assert isinstance(fine, PrototypeResidual)  # noqa: S101  # which torch's list forgets
        assert isinstance(middle, PrototypeResidual)  # noqa: S101
        assert isinstance(coarse, PrototypeResidual)  # noqa: S101
        return fine, middle, coarse

    def with_head(self, head: Head) -> "PRN":
        """Share all but the head with another network."""
        other = copy.copy(self)
        other._modules = dict(self._modules) | {"head": head}  # noqa: SLF001  # as nn.Module copies
        return other

    def _compared(self, frames: Tensor) -> tuple[Tensor, Scales, Tensor, Tensor]:
        """Logits [N, H, W], residuals, nearest prototypes [N, 3], squared distances [N, 3]."""
        stem, features = self.encoder(frames)
        residuals, nearest, distance = compare_scales(features, self.compared)
        return self.head(stem, features, residuals)[:, 0], residuals, nearest, distance

    def _oddness(self, residuals: Scales, frames: Tensor) -> Tensor:
        """Squared distance from the prototypes at each pixel, [N, H, W], 1 where it is usual."""
        height, width = frames.shape[1:3]
        odd = torch.zeros((), device=frames.device)
        for residual, usual in zip(residuals, self.usual_distances, strict=True):
            places = residual.shape[2] * residual.shape[3]
            odd = odd + grown(residual.sum(dim=1) * (places / usual), (height, width))
        return odd / len(residuals)


def _entered(entries: nn.ModuleList, scales: Scales) -> Scales:
    fine, middle, coarse = (entry(scale) for entry, scale in zip(entries, scales, strict=True))
    return fine, middle, coarse


def _feature_entry(channels: int, widths: Widths | None, scale: int) -> nn.Module:
    if widths is None:
        return nn.Identity()
    return _projection(channels, widths[scale])


def _residual_entry(usual: Tensor, config: PrnConfig, scale: int) -> nn.Module:
    channels = len(usual)
    body = (
        nn.BatchNorm2d(channels)
        if config.widths is None
        else _projection(channels, config.widths[scale])
    )
    return _Entry(usual if config.compressed else None, body)


def _projection(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(*convolution(inputs, outputs, 1), nn.ReLU(inplace=True))


def _attention(channels: int, config: PrnConfig) -> MultiSizeAttention:
    chunk = max(1, round(config.attention_share * channels / len(GRIDS)))
    return MultiSizeAttention(channels, chunk * len(GRIDS), config.comparison)


def _fusion(widths: Widths, parts: NetworkParts) -> nn.Module:
    return Fusion(widths) if parts.fusion else Unfused()
