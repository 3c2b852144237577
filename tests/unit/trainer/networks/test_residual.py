from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.prn import normal_pictures, tiny_prn

from engines.residual.reference import prototype_residual
from trainer.networks.residual import LeftOut, PrototypeResidual, left_out_residual
from trainer.prototypes.normals import residuals_of


@pytest.fixture
def maps() -> torch.Tensor:
    """Nine normal maps: the first five are one cluster, the next three another, the last alone."""
    torch.manual_seed(3)
    near = torch.randn(3, 2, 3, 4)[[0, 0, 0, 0, 0, 1, 1, 1, 2]]
    return near + 0.2 * torch.randn(9, 2, 3, 4)


LABELS = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2])
SIZES = torch.tensor([5, 3, 1])


def means(maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.stack([maps[labels == each].mean(dim=0) for each in range(3)])


def left_out(maps: torch.Tensor, pictures: list[int]) -> LeftOut:
    return LeftOut(maps[pictures], LABELS[pictures], SIZES[LABELS[pictures]])


@pytest.mark.parametrize("shape", [(1, 1, 3, 4, 4), (3, 5, 7, 6, 9)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_torch_agrees_with_the_numpy_reference(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(1)
    features = torch.randn(shape[0], *shape[2:]).to(memory_format=layout)
    prototypes = torch.randn(shape[1:]).to(memory_format=layout)
    got = PrototypeResidual(prototypes)(features)
    wanted = prototype_residual(features.numpy(), prototypes.numpy())
    assert np.array_equal(got[1].numpy(), wanted[1])
    assert got[1].dtype == torch.int32
    assert np.allclose(got[0].numpy(), wanted[0], atol=1e-6)
    assert np.allclose(got[2].numpy(), wanted[2], rtol=1e-5)


@pytest.mark.parametrize("picture", [0, 4, 6])
def test_left_out_prototype_is_the_one_made_without_the_picture(
    maps: torch.Tensor, picture: int
) -> None:
    anomaly = maps[picture] + torch.nn.functional.pad(torch.ones(2, 1, 2), (0, 2, 0, 2))
    for features in (maps[picture], anomaly):
        residual, index = left_out_residual(
            features[None], means(maps, LABELS), left_out(maps, [picture])
        )
        others = (LABELS[picture] == LABELS) & (torch.arange(9) != picture)
        wanted = (features - maps[others].mean(dim=0)).square()
        assert index[0] == LABELS[picture]
        assert torch.allclose(residual[0], wanted, atol=1e-5)


def test_cluster_of_one_picture_is_left_out_altogether(maps: torch.Tensor) -> None:
    prototypes = means(maps, LABELS)
    residual, index = left_out_residual(maps[8:], prototypes, left_out(maps, [8]))
    assert index[0] != 2
    assert torch.equal(residual[0], (maps[8] - prototypes[index[0]]).square())


def test_batch_mixes_pictures_with_and_without_a_normal_one_under_them(maps: torch.Tensor) -> None:
    prototypes = means(maps, LABELS)
    pictures = [8, 1, 6, 3]
    left = left_out(maps, pictures)
    none = torch.tensor([False, True, False, True])
    mixed = LeftOut(left.maps, torch.where(none, -1, left.labels), left.sizes)
    residual, index = left_out_residual(maps[pictures], prototypes, mixed)
    for place in range(4):
        if none[place]:
            plain = PrototypeResidual(prototypes)(maps[pictures][place : place + 1])
            assert torch.equal(residual[place], plain[0][0])
        else:
            alone, _ = left_out_residual(
                maps[pictures][place : place + 1], prototypes, left_out(maps, [pictures[place]])
            )
            assert torch.allclose(residual[place], alone[0])
    assert len(index) == 4


def test_a_normal_picture_is_farther_from_prototypes_that_it_is_no_part_of(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    _, features = made.network.encoder(torch.from_numpy(normal_pictures()))
    everyone = np.arange(20)
    left = residuals_of(made.normals, features, everyone)
    plain = residuals_of(made.normals, features, np.full(20, -1))
    for scale in range(3):
        assert left[scale].sum() > 1.05 * plain[scale].sum()
