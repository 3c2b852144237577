"""From a map to one score a picture (PRN, section 4.1)."""

from torch import Tensor

HIGHEST = 100  # pixels


def image_score(maps: Tensor) -> Tensor:
    """Mean of the 100 highest pixels: float32 [N, H, W] -> float32 [N]."""
    flat = maps.flatten(1)
    return flat.topk(min(HIGHEST, flat.shape[1]), dim=1).values.mean(dim=1)
