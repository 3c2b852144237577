"""One number for each anomaly map: how surely the picture shows a defect.

The mean of a fixed number of pixels (PRN: the top 100) disfavours defects smaller than that, for
the pixels around them are averaged in. Every candidate here has one form, maps in and scores out,
and is made of TopK, AveragePool and reductions only, so it exports and runs in every engine.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

Score = Callable[[Tensor], Tensor]  # float32 [N, H, W] in 0..1 -> float32 [N]

PAPER_COUNT = 100  # pixels (PRN)
PEAK_SHARE = 0.0015  # of the pixels: 98 of 256 x 256
GRADED_COUNTS = (10, 30, 100, 300, 1000)  # pixels, from a speck to a large stain
WINDOW_SIDES = (2, 4, 8, 16, 32)  # pixels, likewise


def top_mean(maps: Tensor, count: int) -> Tensor:
    """Mean of the highest `count` pixels, of all where there are fewer."""
    flat = maps.flatten(1)
    return flat.topk(min(count, flat.shape[1]), dim=1).values.mean(dim=1)


def paper_score(maps: Tensor) -> Tensor:
    """Mean of the highest 100 pixels."""
    return top_mean(maps, PAPER_COUNT)


def share_score(maps: Tensor) -> Tensor:
    """Mean of the highest 0.15 % of the pixels: means the same at every size of the map."""
    return top_mean(maps, max(1, round(PEAK_SHARE * maps.shape[1] * maps.shape[2])))


def speck_score(maps: Tensor) -> Tensor:
    """Mean of the highest 10 pixels."""
    return top_mean(maps, GRADED_COUNTS[0])


def graded_means(maps: Tensor) -> Tensor:
    """Means of the highest pixels, at each of `GRADED_COUNTS`: float32 [N, 5]."""
    flat = maps.flatten(1)
    counts = [min(count, flat.shape[1]) for count in GRADED_COUNTS]
    falling = flat.topk(counts[-1], dim=1).values
    return torch.stack([falling[:, :count].mean(dim=1) for count in counts], dim=1)


def window_peaks(maps: Tensor) -> Tensor:
    """Highest mean of a window, at each of `WINDOW_SIDES` that fits: float32 [N, up to 5].

    Windows overlap by half. Unlike the highest pixels, those of a window lie together.
    """
    sides = [side for side in WINDOW_SIDES if side <= min(maps.shape[1:])]
    means = [functional.avg_pool2d(maps[:, None], side, max(1, side // 2)) for side in sides]
    return torch.stack([mean.flatten(1).amax(dim=1) for mean in means], dim=1)


def graded_score(maps: Tensor) -> Tensor:
    """Mean of the graded means: a speck moves its first terms, a large stain all of them."""
    return graded_means(maps).mean(dim=1)


def window_score(maps: Tensor) -> Tensor:
    """Mean of the window peaks."""
    return window_peaks(maps).mean(dim=1)


class StandardScore(nn.Module):
    """How far the most unusual of several terms lies above what held-out normals show.

    Each term is shifted by its median over the normals and divided by how far their highest share
    lies above it, so terms of small and of large areas compete on equal footing. Not in 0..1.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, terms: Score, normals: Tensor, high: float = 0.9) -> None:
        """Take terms (maps -> float32 [N, T]), maps of held-out normals [n, H, W], a quantile."""
        super().__init__()
        self.terms = terms
        shown = terms(normals)
        centre = shown.median(dim=0).values
        spread = (shown.quantile(high, dim=0) - centre).clamp_min(1e-6)
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)

    def forward(self, maps: Tensor) -> Tensor:
        """Score float32 [N, H, W]: float32 [N], about 0 for half of the normals."""
        return ((self.terms(maps) - self.centre) / self.spread).amax(dim=1)


FIXED_SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "top 100": paper_score,
        "top 0.15 %": share_score,
        "top 10": speck_score,
        "graded": graded_score,
        "windows": window_score,
    }
)


def candidates(normals: Tensor) -> dict[str, Score]:
    """All candidates; those that need normals are made from maps of held-out ones [n, H, W]."""
    return {
        **FIXED_SCORES,
        "standard graded": StandardScore(graded_means, normals),
        "standard windows": StandardScore(window_peaks, normals),
    }


def image_score(maps: Tensor) -> Tensor:
    """Score anomaly maps, float32 [N, H, W] in 0..1: float32 [N] in 0..1, higher is worse."""
    return graded_score(maps)
