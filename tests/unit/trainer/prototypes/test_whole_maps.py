import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from trainer.errors import DatasetError
from trainer.prototypes.gram_clustering import cluster, coordinates
from trainer.prototypes.whole_maps import cache_maps, gram_matrix, learn_whole_maps, prototype_count


def points_around(centres: np.ndarray, each: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        centres[:, None] + rng.normal(0, spread, (len(centres), each, centres.shape[1]))
    ).reshape(-1, centres.shape[1])


def cost(points: np.ndarray, labels: np.ndarray) -> float:
    return sum(
        ((points[labels == each] - points[labels == each].mean(axis=0)) ** 2).sum()
        for each in np.unique(labels)
    )


@given(st.integers(0, 50), st.integers(2, 12), st.integers(1, 30))
def test_coordinates_of_a_gram_matrix_have_the_distances_of_its_vectors(
    seed: int, count: int, length: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(count, length))
    found = coordinates(points @ points.T)
    assert found.shape == (count, count)
    wanted = np.square(points[:, None] - points).sum(axis=2)
    assert np.allclose(np.square(found[:, None] - found).sum(axis=2), wanted)


@given(st.integers(0, 30), st.integers(1, 25), st.integers(1, 25))
def test_clusters_are_as_many_as_asked_for_and_none_is_empty(
    seed: int, count: int, kinds: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 5))
    labels = cluster(points @ points.T, min(kinds, count), seed)
    assert np.array_equal(np.unique(labels), np.arange(min(kinds, count)))


def test_far_groups_are_found() -> None:
    centres = np.random.default_rng(3).normal(0, 20, (6, 40))
    points = points_around(centres, 7, 0.5)
    labels = cluster(points @ points.T, 6, 0)
    assert all(len(np.unique(labels[start : start + 7])) == 1 for start in range(0, 42, 7))


def test_cost_is_no_worse_than_scikit_learns() -> None:
    points = np.random.default_rng(8).normal(size=(60, 30))
    ours = cost(points, cluster(points @ points.T, 6, 0))
    theirs = KMeans(6, n_init=10, random_state=0).fit(points).inertia_
    assert ours <= 1.02 * theirs  # other starts end in other local minima


def test_copies_give_one_prototype() -> None:
    points = np.repeat(np.random.default_rng(1).normal(size=(3, 9)), 4, axis=0)
    labels = cluster(points @ points.T, 8, 0)
    assert len(np.unique(labels)) == 3


def test_same_seed_gives_the_same_clusters() -> None:
    points = np.random.default_rng(2).normal(size=(40, 9))
    gram = points @ points.T
    assert np.array_equal(cluster(gram, 7, 5), cluster(gram, 7, 5))


def test_gram_matrix_of_many_blocks_is_that_of_the_maps_less_their_mean() -> None:
    maps = np.random.default_rng(4).normal(3, 1, (75, 3, 4, 2)).astype(np.float16)
    rows = maps.reshape(75, -1).astype(np.float64)
    rows -= rows.mean(axis=0)
    assert np.allclose(gram_matrix(maps), rows @ rows.T, atol=1e-3)


def test_prototypes_are_the_means_of_their_pictures() -> None:
    maps = np.random.default_rng(4).normal(size=(30, 4, 4, 3)).astype(np.float16)
    learned = learn_whole_maps(maps, 3, seed=0)
    assert learned.prototypes.shape == (3, 3, 4, 4)
    assert learned.sizes.sum() == 30
    for each in range(3):
        wanted = maps[learned.labels.numpy() == each].astype(np.float64).mean(axis=0)
        got = learned.prototypes[each].permute(1, 2, 0).numpy()
        assert np.allclose(got, wanted, atol=1e-6)


def test_fewer_pictures_than_prototypes_are_refused() -> None:
    with pytest.raises(DatasetError, match="4 prototypes of 3 pictures"):
        learn_whole_maps(np.zeros((3, 2, 2, 1), np.float16), 4, seed=0)


@pytest.mark.parametrize(("normals", "count"), [(2, 1), (19, 1), (20, 2), (209, 20), (391, 39)])
def test_a_tenth_of_the_pictures_become_prototypes(normals: int, count: int) -> None:
    assert prototype_count(normals) == count


def test_one_picture_is_too_few() -> None:
    with pytest.raises(DatasetError, match="at least 2"):
        prototype_count(1)


def encode(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = frames.permute(0, 3, 1, 2).float()
    return x[:, :, ::4, ::4], x[:, :, ::8, ::8], x[:, :, ::16, ::16]


def test_cached_maps_are_the_features_and_leave_no_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    seen: list[int] = []
    cache = cache_maps(encode, pixels, tmp_path, seen.append)
    picked = np.array([10, 0, 3])
    for scale, wanted in enumerate(encode(torch.from_numpy(pixels))):
        assert torch.equal(cache.take(scale, picked), wanted[picked])
    assert sum(seen) == 11
    assert list(tmp_path.iterdir()) == []


def test_features_beyond_float16_are_refused(tmp_path: Path) -> None:
    pixels = np.full((2, 16, 16, 3), 255, np.uint8)
    with pytest.raises(DatasetError, match="float16"):
        cache_maps(lambda frames: tuple(1e4 * each for each in encode(frames)), pixels, tmp_path)


def test_full_disk_is_said_before_maps_are_written(tmp_path: Path) -> None:
    def encode(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros(len(images), 8, 32, 32) for _ in range(3))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, hard))
    try:
        with pytest.raises(DatasetError, match=r"of 9 pictures need 1 MiB more .* make room"):
            cache_maps(encode, np.zeros((9, 4, 4, 3), np.uint8), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
