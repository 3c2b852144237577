from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from trainer.choices import STRIDES
from trainer.errors import ExportError, WeightsError
from trainer.export.engine_file import OUTPUTS, export_onnx
from trainer.networks.backbones import (
    Backbone,
    EfficientNetLite0,
    ResNet18,
    check_packaged_weights,
    load_backbone,
    load_weights,
)
from trainer.networks.image_score import share_score
from trainer.networks.proto_ad import PatchEncoder, ProtoAD, patches

SIZES = [(64, 64), (96, 160)]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (3, 64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def network(backbone: Backbone, frames: np.ndarray) -> ProtoAD:
    encoder = PatchEncoder(backbone).eval()
    with torch.no_grad():
        seen = patches(encoder(torch.from_numpy(frames[:1])))[0]
    return ProtoAD(encoder, seen).eval()  # 384: more than one chunk, not a multiple of it


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [ResNet18, EfficientNetLite0])
def test_features_have_the_stated_channels_and_strides(
    kind: type[Backbone], size: tuple[int, int]
) -> None:
    with torch.no_grad():
        features = kind().train()(torch.zeros(2, 3, *size))
    for feature, channels, stride in zip(features, kind.channels, STRIDES, strict=True):
        assert feature.shape == (2, channels, size[0] // stride, size[1] // stride)


def test_backbone_stays_frozen_when_it_is_told_to_train(backbone: Backbone) -> None:
    assert not any(module.training for module in backbone.train().modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("kind", [ResNet18, EfficientNetLite0])
def test_folded_batch_norm_computes_the_same(kind: type[Backbone], tmp_path: Path) -> None:
    torch.manual_seed(5)
    plain = kind().train()
    for name, statistic in plain.named_buffers():
        if name.endswith("running_mean"):
            statistic.normal_(0, 0.1)
        if name.endswith("running_var"):
            statistic.uniform_(0.5, 2)
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    folded = load_weights(kind(), tmp_path / "w.safetensors")
    images = torch.randn(1, 3, 64, 64)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in folded.modules())
    with torch.no_grad():
        for got, wanted in zip(folded(images), plain(images), strict=True):
            assert torch.allclose(got, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_resnet_without_weights_says_how_to_get_them() -> None:
    with pytest.raises(WeightsError, match=r"--weights FILE.*efficientnet_lite0"):
        load_backbone("resnet18")


def test_shared_resnet_weights_load(shared: Path) -> None:
    backbone = load_backbone("resnet18", shared / "weights" / "resnet18_to_layer3.safetensors")
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 64, 64))[2].abs().mean() > 0.01


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    save_file(EfficientNetLite0().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"conv1\.weight is missing"):
        load_backbone("resnet18", tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_foreign_bytes_are_no_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match=name):
        load_backbone("resnet18", tmp_path / name)


def test_pickled_code_in_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth"):
        load_backbone("resnet18", tmp_path / "w.pth")


def test_map_is_one_minus_the_best_cosine(network: ProtoAD, frames: np.ndarray) -> None:
    """The convolutions at their own scales against the product written out."""
    with torch.no_grad():
        features = network.encoder(torch.from_numpy(frames))
        joined = functional.normalize(patches(features), dim=2)  # [N, P, C]
        wanted = (joined @ network.prototypes).amax(dim=2)
        got = network._best(features).flatten(1)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_patches_have_unit_length(network: ProtoAD, frames: np.ndarray) -> None:
    with torch.no_grad():
        length = patches(network.encoder(torch.from_numpy(frames))).norm(dim=2)
    assert torch.allclose(length, torch.ones_like(length), atol=1e-5)


def test_a_picture_of_prototypes_scores_nearly_zero(network: ProtoAD, frames: np.ndarray) -> None:
    with torch.no_grad():
        score, maps, _, _ = network(torch.from_numpy(frames))
    assert score[0] < 0.02 < score[1:].min()
    assert maps.shape == (3, 64, 96)
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_evidence_is_the_farthest_patch_and_its_nearest_prototype(
    network: ProtoAD, frames: np.ndarray
) -> None:
    with torch.no_grad():
        _, _, nearest, distance = network(torch.from_numpy(frames))
        joined = patches(network.encoder(torch.from_numpy(frames)))
        similarity = joined @ network.prototypes  # [N, P, K]
    farthest = similarity.amax(dim=2).argmin(dim=1)
    for frame in (1, 2):  # in frame 0, made of prototypes, all patches are equally near
        row = similarity[frame, farthest[frame]]
        assert distance[frame, 0] == pytest.approx(float(1 - row.max()), abs=1e-5)
        assert row[nearest[frame, 0]] == pytest.approx(float(row.max()), abs=1e-5)


def test_a_frame_scores_the_same_alone_and_in_a_batch(network: ProtoAD, frames: np.ndarray) -> None:
    with torch.no_grad():
        together = network(torch.from_numpy(frames))[0]
        alone = [network(torch.from_numpy(frames[i : i + 1]))[0] for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_score_is_the_mean_of_the_highest_pixels() -> None:
    maps = torch.zeros(1, 100, 100)
    maps[0, 0, :10] = 1.0
    assert share_score(maps)[0] == pytest.approx(10 / 15)  # 0.15 % of 10,000 are 15


class Brightness(torch.nn.Module):
    """The contract of an engine file over next to nothing; answers drift by `drift` a call."""

    def __init__(self, drift: float) -> None:
        super().__init__()
        self.drift = drift
        self.calls = 0

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.calls += 1
        maps = frames.float().mean(dim=3) / 255
        score = maps.mean(dim=(1, 2)) + self.drift * self.calls
        return score, maps, score[:, None].int(), score[:, None].clone()


def test_exported_graph_takes_any_batch(frames: np.ndarray) -> None:
    content = export_onnx(Brightness(0.0), frames)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (frames[:1], frames, np.repeat(frames, 8, axis=0)):
        score, maps, nearest, distance = session.run(list(OUTPUTS), {"frames": batch})
        assert np.allclose(score, batch.mean(axis=(1, 2, 3)) / 255, atol=1e-5)
        assert (maps.dtype, nearest.dtype, distance.dtype) == (np.float32, np.int32, np.float32)


def test_export_that_disagrees_with_torch_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(ExportError, match="score is off by"):
        export_onnx(Brightness(0.01), frames)


def test_packaged_weights_are_the_known_ones_or_refused_in_a_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    for path, said in ((other, "is not the file of"), (tmp_path / "none.pth", "No such file")):
        with pytest.raises(WeightsError, match=f"{said}.*uninstall.*--weights"):
            check_packaged_weights(path)
