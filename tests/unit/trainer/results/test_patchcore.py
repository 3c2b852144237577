import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from engines.engine import Engine
from engines.errors import ShapeError
from trainer.networks.backbones import Backbone, Features
from trainer.results import patchcore
from trainer.results.patchcore import (
    PatchCore,
    ResidualMap,
    coreset,
    encode,
    learn_bank,
    nearest_residual,
    patches_of,
)

SIZE = (32, 48)


class Means(Backbone):
    """Features that are the means of the picture's squares of 4, 8 and 16 pixels."""

    channels = (3, 3, 3)
    mean = (0.0, 0.0, 0.0)
    std = (255.0, 255.0, 255.0)

    def forward(self, images: Tensor) -> Features:
        fine, middle, coarse = (functional.avg_pool2d(images, side) for side in (4, 8, 16))
        return fine, middle, coarse


def normals(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(90, 110, (count, *SIZE, 3)).astype(np.uint8)


def with_spot(pixels: np.ndarray) -> np.ndarray:
    spotted = pixels.copy()
    spotted[:, 8:16, 16:32] = 250
    return spotted


def slow_coreset(points: Tensor, count: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        nearest = torch.cdist(points.double(), points[chosen].double()).min(dim=1).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


@given(st.integers(0, 50), st.integers(2, 60), st.integers(1, 4))
def test_coreset_is_the_greedy_one(seed: int, number: int, channels: int) -> None:
    points = torch.rand(number, channels, generator=torch.Generator().manual_seed(seed))
    count = max(1, number // 2)
    chosen = coreset(points, count, seed).tolist()
    assert chosen == slow_coreset(points, count, chosen[0])


def test_coreset_stays_greedy_when_candidates_are_few() -> None:
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(5))
    assert len(points) > 2 * patchcore._CANDIDATES
    chosen = coreset(points, 300, 1).tolist()
    assert chosen == slow_coreset(points, 300, chosen[0])


def test_coreset_chooses_no_point_twice_even_among_copies() -> None:
    chosen = coreset(torch.ones(20, 2), 12, 0)
    assert len(set(chosen.tolist())) == 12


def test_patches_join_the_means_of_neighbours_of_two_strides(rng: np.random.Generator) -> None:
    features = encode(Means(), normals(rng, 2))
    patches = patches_of(features)
    assert patches.shape == (2, 6, 4, 6)
    wanted = features[1][0, :, 0:3, 0:3].mean(dim=(1, 2))
    assert torch.allclose(patches[0, :3, 1, 1], wanted, atol=1e-6)


def test_residual_is_taken_from_the_nearest_whole_map(rng: np.random.Generator) -> None:
    features = torch.from_numpy(rng.random((4, 3, 5, 6)).astype(np.float32))
    prototypes = torch.from_numpy(rng.random((7, 3, 5, 6)).astype(np.float32))
    for feature, residual in zip(features, nearest_residual(features, prototypes), strict=True):
        squares = (feature - prototypes).square()
        best = squares.sum(dim=(1, 2, 3)).argmin()
        assert torch.allclose(residual, squares[best].sum(dim=0), atol=1e-6)


def baselines(pixels: np.ndarray) -> list[Engine]:
    features = encode(Means(), pixels)
    prototypes = tuple(feature[:3] for feature in features)
    return [
        ResidualMap(Means(), prototypes, SIZE),
        PatchCore(Means(), learn_bank(Means(), pixels, 0.3), SIZE),
    ]


def test_baselines_find_a_spot_and_its_place(rng: np.random.Generator) -> None:
    learned, fresh = normals(rng, 8), normals(rng, 4)
    for baseline in baselines(learned):
        good, bad = baseline.score(fresh), baseline.score(with_spot(fresh))
        assert good.maps.shape == (4, *SIZE)
        assert bad.score.min() > good.score.max()
        row, column = np.unravel_index(bad.maps[0].argmax(), SIZE)
        assert 6 <= row <= 18
        assert 14 <= column <= 34


def test_baselines_judge_each_picture_by_itself(rng: np.random.Generator) -> None:
    frames = with_spot(normals(rng, 3))
    for baseline in baselines(normals(rng, 8)):
        whole = baseline.score(frames).score
        alone = np.concatenate([baseline.score(frame[None]).score for frame in frames])
        assert whole == pytest.approx(alone, rel=1e-4)
        with pytest.raises(ShapeError):
            baseline.score(frames[:, :16])
