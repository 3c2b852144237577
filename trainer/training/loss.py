"""The loss of PRN: focal and smooth L1 against the mask, on logits in float32."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

FOCAL_WEIGHT = 5.0
_ALPHA = 0.5
_GAMMA = 4


@dataclass(frozen=True, slots=True)
class Losses:
    """What one batch lost; `total` has the gradient."""

    total: Tensor
    focal: Tensor
    smooth_l1: Tensor

    def detached(self) -> "Losses":
        """Leave the gradient away."""
        return Losses(self.total.detach(), self.focal.detach(), self.smooth_l1.detach())


def map_loss(logits: Tensor, masks: Tensor) -> Losses:
    """Compare logits with masks, both [N, H, W], masks 0..1.

    With p the probability and m the mask, focal = -1/2 |m - p|^4 (m log p + (1 - m) log(1 - p)),
    which at m of 0 or 1 is the published form; smooth L1 with beta 1 is (m - p)^2 / 2 here. Means
    over all pixels, 5 focal + smooth L1.
    """
    logits, masks = logits.float(), masks.float()
    probability = logits.sigmoid()
    surprise = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    square = (masks - probability).square()
    focal = _ALPHA * (square.pow(_GAMMA // 2) * surprise).mean()
    smooth_l1 = 0.5 * square.mean()
    return Losses(FOCAL_WEIGHT * focal + smooth_l1, focal, smooth_l1)
