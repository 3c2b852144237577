"""Multi-scale fusion: every scale gets the sum of all three (PRN; HRNet's exchange).

    out_j = relu(sum_i f_ij(in_i))

f is the identity on the diagonal, a 1x1 convolution and bilinear enlargement from coarse to fine
(the convolution first, where it is 4 to 16 times cheaper), and 3x3 convolutions of stride 2 from
fine to coarse, two in a row over two scales.
"""

from torch import Tensor, nn
from torch.nn import functional

Scales = tuple[Tensor, Tensor, Tensor]  # float32 [N, C_j, H / stride_j, W / stride_j], fine first
Widths = tuple[int, int, int]  # C_j


class Fusion(nn.Module):
    """Exchange between three scales; what comes out has the widths of what went in."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.paths = nn.ModuleDict(
            {
                f"{source}{target}": _path(widths, source, target)
                for target in range(3)
                for source in range(3)
                if source != target
            }
        )

    def forward(self, scales: Scales) -> Scales:
        """Fuse `scales`."""
        fine, middle, coarse = (self._fused(scales, target) for target in range(3))
        return fine, middle, coarse

    def _fused(self, scales: Scales, target: int) -> Tensor:
        total = scales[target]
        for source, scale in enumerate(scales):
            if source != target:
                total = total + self.paths[f"{source}{target}"](scale)
        return functional.relu(total, inplace=True)


class Unfused(nn.Module):
    """Stands where a fusion is switched off: every scale by itself."""

    def forward(self, scales: Scales) -> Scales:
        """Return `scales` back."""
        return scales


class Enlarge(nn.Module):
    """Bilinear enlargement on half-pixel centres, the same in every engine."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = float(factor)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge [N, C, h, w] to [N, C, h * factor, w * factor]."""
        return functional.interpolate(
            x, scale_factor=self.factor, mode="bilinear", align_corners=False
        )


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Make a convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _path(widths: Widths, source: int, target: int) -> nn.Sequential:
    if source > target:
        return nn.Sequential(
            *convolution(widths[source], widths[target], 1), Enlarge(2 ** (source - target))
        )
    if target - source == 1:
        return convolution(widths[source], widths[target], 3, 2)
    return nn.Sequential(
        *convolution(widths[source], widths[source], 3, 2),
        nn.ReLU(inplace=True),
        *convolution(widths[source], widths[target], 3, 2),
    )
