"""Bottleneck and U-Net decoder: from the fused scales to one logit a pixel (PRN)."""

import torch
from torch import Tensor, nn

from trainer.networks.backbones import residual_stage
from trainer.networks.fusion import Enlarge, Scales, Widths, convolution

_PRIOR_LOGIT = -2.5  # of the last convolution's bias: the first map says 0.08 everywhere


class Decoder(nn.Module):
    """From the bottom at stride 32 upwards, joined with each scale on its way."""

    def __init__(
        self, bottom: int, skips: Widths, widths: Widths, tail: tuple[int, ...], stem: int
    ) -> None:
        """Make it.

        Args:
            bottom: channels at stride 32.
            skips: channels of the scales, fine first.
            widths: channels of the levels at strides 4, 8, 16.
            tail: channels of the levels above, each of half the stride.
            stem: channels of the encoder's stem, added to the first level of `tail`; 0 for none.
        """
        super().__init__()
        fine, middle, coarse = widths
        self.coarse = _Level(bottom, skips[2], coarse, convolutions=2)
        self.middle = _Level(coarse, skips[1], middle, convolutions=2)
        self.fine = _Level(middle, skips[0], fine, convolutions=2)
        self.stem = _active(stem, tail[0], 1) if stem else None
        self.tail = nn.ModuleList(
            _Level(inputs, 0, width, convolutions=1)
            for inputs, width in zip((fine, *tail[:-1]), tail, strict=True)
        )
        self.logit = nn.Conv2d(tail[-1], 1, 3, padding=1)
        assert self.logit.bias is not None  # noqa: S101  # made with one
        nn.init.constant_(self.logit.bias, _PRIOR_LOGIT)
        left = 4 >> len(tail)  # stride that the levels leave
        self.enlarge = Enlarge(left) if left > 1 else nn.Identity()

    def forward(self, bottom: Tensor, scales: Scales, stem: Tensor) -> Tensor:
        """Decode to logits, float32 [N, 1, H, W].

        Args:
            bottom: float32 [N, C, H/32, W/32].
            scales: at strides 4, 8, 16.
            stem: float32 [N, C, H/2, W/2].
        """
        x = self.middle(self.coarse(bottom, scales[2]), scales[1])
        x = self.fine(x, scales[0])
        for depth, level in enumerate(self.tail):
            assert isinstance(level, _Level)  # noqa: S101  # which torch's list forgets
            grown = level.grown(x)
            if depth == 0 and self.stem is not None:
                grown = grown + self.stem(stem)
            x = level.blend(grown)
        logits: Tensor = self.enlarge(self.logit(x))
        return logits


class _Level(nn.Module):
    """Convolve, enlarge x2, join with the skip, convolve.

    The first convolution stands before the enlargement, where it costs a quarter.
    """

    def __init__(self, inputs: int, skip: int, width: int, convolutions: int) -> None:
        super().__init__()
        self.narrow = _active(inputs, width, 3)
        self.enlarge = Enlarge(2)
        self.blend = nn.Sequential(
            _active(width + skip, width, 3),
            *(_active(width, width, 3) for _ in range(convolutions - 1)),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        blended: Tensor = self.blend(torch.cat([self.grown(x), skip], dim=1))
        return blended

    def grown(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, width, 2 h, 2 w]."""
        enlarged: Tensor = self.enlarge(self.narrow(x))
        return enlarged


def layer4(inputs: int, outputs: int) -> nn.Sequential:
    """Make the paper's bottleneck, ResNet-18's fourth stage, with torchvision's key names."""
    return residual_stage(inputs, outputs, 2)


def compact_bottleneck(inputs: int, outputs: int) -> nn.Sequential:
    """Make a bottleneck of two convolutions, to be trained from a fresh start."""
    return nn.Sequential(_active(inputs, outputs, 3, 2), _active(outputs, outputs, 3))


def _active(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*convolution(inputs, outputs, kernel, stride), nn.ReLU(inplace=True))
