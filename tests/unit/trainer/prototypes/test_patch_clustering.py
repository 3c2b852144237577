from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

from trainer.prototypes.patch_clustering import (
    farthest_points,
    finch,
    first_neighbours,
    learn_prototypes,
)


def unit(rng: np.random.Generator, count: int, channels: int = 6) -> torch.Tensor:
    points = rng.standard_normal((count, channels)).astype(np.float32)
    return functional.normalize(torch.from_numpy(points), dim=1)


def slow_finest(points: torch.Tensor) -> list[int]:
    """Equation 1 word for word: j = first(i), or first(j) = i, or first(i) = first(j)."""
    first = []
    for i, point in enumerate(points):
        similarity = points @ point
        similarity[i] = -2
        first.append(int(similarity.argmax()))
    group = list(range(len(points)))
    for i in range(len(points)):
        for j in range(len(points)):
            if first[i] == j or first[j] == i or first[i] == first[j]:
                group = [group[i] if each == group[j] else each for each in group]
    return group


def test_first_neighbour_is_the_most_similar_other_point(rng: np.random.Generator) -> None:
    points = unit(rng, 5000)  # more than one block
    found = first_neighbours(points)
    for index in (0, 4095, 4096, 4999):
        similarity = points @ points[index]
        similarity[index] = -2
        assert found[index] == similarity.argmax()


def test_finest_partition_is_the_papers_equation(rng: np.random.Generator) -> None:
    points = unit(rng, 60)
    labels, wanted = finch(points)[0].labels, slow_finest(points)
    same = labels[:, None] == labels[None, :]
    assert torch.equal(same, torch.tensor(wanted)[:, None] == torch.tensor(wanted)[None, :])


def test_partitions_nest_down_to_one_and_means_are_unit(rng: np.random.Generator) -> None:
    points = unit(rng, 400)
    partitions = finch(points)
    counts = [len(partition.means) for partition in partitions]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    for fine, coarse in pairwise(partitions):
        for label in range(len(fine.means)):
            assert len(coarse.labels[fine.labels == label].unique()) == 1
    wanted = functional.normalize(points[partitions[0].labels == 0].mean(dim=0), dim=0)
    assert torch.allclose(partitions[0].means[0], wanted, atol=1e-6)


def test_three_separate_clouds_are_found(rng: np.random.Generator) -> None:
    centres = torch.eye(6)[:3]
    noise = 0.05 * torch.from_numpy(rng.standard_normal((300, 6)).astype(np.float32))
    points = functional.normalize(centres.repeat(100, 1) + noise, dim=1)
    three = next(p for p in finch(points) if len(p.means) == 3)
    assert torch.equal(three.labels.view(100, 3), three.labels[:3].expand(100, 3))


def test_farthest_points_do_not_leave_out_a_single_rare_point(rng: np.random.Generator) -> None:
    common = functional.normalize(torch.ones(6) + 0.01 * unit(rng, 2000), dim=1)
    rare = functional.normalize(torch.tensor([[1.0, -1, 1, -1, 1, -1]]), dim=1)
    points = torch.cat([common, rare])
    assert 2000 in farthest_points(points, 2).tolist()


def test_copies_are_chosen_once(rng: np.random.Generator) -> None:
    points = unit(rng, 4).repeat(50, 1)
    chosen = farthest_points(points, 100)
    assert len(chosen) == 4
    assert len(points[chosen].unique(dim=0)) == 4


def test_farthest_clustering_takes_patches_of_the_sample_and_finch_their_means(
    rng: np.random.Generator,
) -> None:
    sample = unit(rng, 200)
    chosen = learn_prototypes(sample, "farthest", 20)
    assert torch.equal(chosen, sample[farthest_points(sample, 20)])
    means = finch(sample)[0].means
    assert torch.equal(learn_prototypes(sample, "finch", 20), means[farthest_points(means, 20)])
