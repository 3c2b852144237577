"""Multi-size self-attention: patches of four sizes look at each other (PRN).

The channels are split into four chunks, one a patch size: the whole map, a half, a quarter and an
eighth of its side (1, 4, 16, 64 tokens). A token is a flattened patch of its chunk. The whole map
is one token, whose softmax is 1: that chunk is its values, and has neither queries nor keys.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.networks.fusion import convolution

Similarity = Literal["scaled", "cosine"]
GRIDS = (1, 2, 4, 8)  # patches a side, for each chunk
_SLOPE = 0.2
_EPS = 1e-12
_TEMPERATURE = 10.0  # that the cosine form starts from: logits of -10..10


class MultiSizeAttention(nn.Module):
    """One block: attention at four patch sizes, 3x3 convolution, skip; channels stay."""

    def __init__(self, channels: int, inner: int, comparison: Similarity) -> None:
        """Take channels, those to attend with (a multiple of 4), and how tokens are compared.

        `scaled` divides the product by the root of the token's length, as the paper does: with
        tokens of up to 131,072 numbers that is nearly one-hot. `cosine` compares directions and
        learns a temperature for each patch size.
        """
        super().__init__()
        self.chunk = inner // len(GRIDS)
        seeing = 3 * self.chunk  # chunks with more than one token
        self.split = (seeing, seeing, inner)
        self.project = nn.Conv2d(channels, sum(self.split), 1)
        self.mix = nn.Sequential(
            *convolution(inner, channels, 3), nn.LeakyReLU(_SLOPE, inplace=True)
        )
        self.temperature = (
            nn.Parameter(torch.full((3,), _TEMPERATURE)) if comparison == "cosine" else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend within float32 [N, C, h, w]."""
        queries, keys, values = self.project(x).split(self.split, dim=1)
        whole, *parts = values.split(self.chunk, dim=1)
        seen = [whole]
        for size, (query, key, value) in enumerate(
            zip(queries.split(self.chunk, 1), keys.split(self.chunk, 1), parts, strict=True)
        ):
            seen.append(self._attended(size, query, key, value))
        mixed: Tensor = self.mix(torch.cat(seen, dim=1))
        return x + mixed

    def _attended(self, size: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend within a chunk [N, inner/4, h, w] at patch size `size` + 1."""
        height, width = value.shape[2:]
        grid = fitting_grid(height, width, GRIDS[size + 1])
        tokens = [_patches(each, grid) for each in (query, key, value)]  # [N, grid^2, length]
        weights = self._logits(size, tokens[0], tokens[1]).softmax(dim=2)  # [N, grid^2, grid^2]
        return _unpatched(weights @ tokens[2], value.shape[1], height, width, grid)

    def _logits(self, size: int, query: Tensor, key: Tensor) -> Tensor:
        if self.temperature is None:
            scaled = query / math.sqrt(
                query.shape[2]
            )  # before the product, which may overflow fp16
            return scaled @ key.transpose(1, 2)
        # Rows of tokens are long, the logits are few: the keys' lengths are divided out of these.
        unit = query * (self.temperature[size] * _inverse_length(query))
        cosines: Tensor = (unit @ key.transpose(1, 2)) * _inverse_length(key).transpose(1, 2)
        return cosines


def _inverse_length(tokens: Tensor) -> Tensor:
    """1 / |token|, [N, T, length] -> [N, T, 1]."""
    return tokens.square().sum(dim=2, keepdim=True).clamp_min(_EPS).rsqrt()


def fitting_grid(height: int, width: int, most: int) -> int:
    """Halve `most`, a power of two, until it divides both sides."""
    grid = most
    while height % grid or width % grid:
        grid //= 2
    return grid


def _patches(x: Tensor, grid: int) -> Tensor:
    """Cut [N, C, h, w] into tokens [N, grid^2, h/grid * w/grid * C], channels last as in memory."""
    _, channels, height, width = x.shape
    cut = x.reshape(-1, channels, grid, height // grid, grid, width // grid)
    ordered = cut.permute(0, 2, 4, 3, 5, 1)  # [N, grid, grid, h/grid, w/grid, C]
    return ordered.reshape(-1, grid * grid, channels * height * width // (grid * grid))


def _unpatched(tokens: Tensor, channels: int, height: int, width: int, grid: int) -> Tensor:
    """Undo `_patches`."""
    cut = tokens.reshape(-1, grid, grid, height // grid, width // grid, channels)
    rows = cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
    return rows.permute(0, 3, 1, 2)
