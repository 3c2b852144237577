from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fakes.prn import SIZE, TINY, TINY_PAPER, Squares, TinyBackbone, normal_pictures, tiny_prn
from safetensors.torch import save_file
from torch.nn import functional

from engines.manifest import Thresholds
from engines.open import open_engine
from engines.residual.function import residual_nodes
from trainer.dataset import Snapshot
from trainer.errors import DatasetError
from trainer.export.engine_file import export_onnx, run_torch, write_engine
from trainer.networks.attention import MultiSizeAttention, _patches, _unpatched, fitting_grid
from trainer.networks.backbones import EfficientNetLite0, ResNet18, residual_stage
from trainer.networks.fusion import Fusion
from trainer.networks.prn import (
    PRN,
    PRN_CONFIGS,
    RESIDUAL_WEIGHT,
    Encoder,
    FeatureScale,
    Head,
    NetworkParts,
    PrnConfig,
)
from trainer.training.prn.initial import load_layer4, make_prn
from trainer.training.training_step import OptimizerConfig, TrainingState

PLAN_NAMES = ["tiny", "paper"]
TINY_PLANS = {"tiny": TINY, "paper": TINY_PAPER}
OFF = [
    NetworkParts(prototypes=False),
    NetworkParts(fusion=False),
    NetworkParts(attention=False),
    NetworkParts(residual_map=False),
]
ALL_OFF = NetworkParts(prototypes=False, fusion=False, attention=False)


@pytest.fixture
def frames() -> np.ndarray:
    return Squares(normal_pictures()).batch(3).frames


def trained(folder: Path, config: PrnConfig, steps: int = 3) -> PRN:
    """A network whose batch norms and weights have moved."""
    made = tiny_prn(folder, config)
    state = TrainingState(made.network, made.normals, OptimizerConfig())
    for step in range(steps):
        state.step(Squares(made.normals.pixels).batch(step), 1.0, step)
    return made.network.eval()


@pytest.mark.parametrize("name", ["prn", "prn-s"])
@pytest.mark.parametrize("kind", [ResNet18, EfficientNetLite0])
def test_both_plans_run_on_both_backbones(kind: type, name: str) -> None:
    backbone = kind().train()
    sides = [64 // stride for stride in (4, 8, 16)]
    maps = [torch.rand(2, c, s, s) for c, s in zip(kind.channels, sides, strict=True)]
    feature_scale = FeatureScale(tuple(torch.ones(c) for c in kind.channels), torch.ones(3))
    head = Head(PRN_CONFIGS[name], NetworkParts(), backbone, feature_scale)
    network = PRN(Encoder(backbone), tuple(maps), head, feature_scale).eval()
    with torch.inference_mode():
        score, out, nearest, distance = network(torch.zeros(3, 64, 64, 3, dtype=torch.uint8))
    assert (score.shape, out.shape) == ((3,), (3, 64, 64))
    assert (nearest.shape, distance.shape) == ((3, 3), (3, 3))
    assert (nearest.dtype, distance.dtype) == (torch.int32, torch.float32)


@pytest.mark.parametrize("plan", PLAN_NAMES)
@pytest.mark.parametrize("switches", [NetworkParts(), *OFF, ALL_OFF], ids=str)
def test_each_part_can_be_switched_off(
    tmp_path: Path, frames: np.ndarray, plan: str, switches: NetworkParts
) -> None:
    made = tiny_prn(tmp_path, TINY_PLANS[plan], switches)
    state = TrainingState(made.network, made.normals, OptimizerConfig())
    before = [each.detach().clone() for each in made.network.head.parameters()]
    state.step(Squares(made.normals.pixels).batch(0), 1.0, 0)
    moved = [
        not torch.equal(was, now)
        for was, now in zip(before, made.network.head.parameters(), strict=True)
    ]
    assert all(moved)  # nothing that is trained lies idle
    assert run_torch(made.network.eval(), frames).maps.shape == (4, SIZE, SIZE)


def test_maps_are_probabilities_that_begin_low(tmp_path: Path, frames: np.ndarray) -> None:
    scores = run_torch(tiny_prn(tmp_path).network.eval(), frames)
    assert 0 <= scores.maps.min() <= scores.maps.max() <= 1
    assert np.median(scores.maps) < 0.3


def test_distance_of_normal_pictures_is_about_one(tmp_path: Path, frames: np.ndarray) -> None:
    scores = run_torch(tiny_prn(tmp_path).network.eval(), frames)
    assert 0.1 < scores.distance[:2].mean() < 2  # pictures without a square
    assert scores.distance[2:].min() > scores.distance[:2].max()


def test_training_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    before = {name: each.clone() for name, each in made.network.encoder.state_dict().items()}
    state = TrainingState(made.network, made.normals, OptimizerConfig())
    for step in range(3):
        state.step(Squares(made.normals.pixels).batch(step), 1.0, step)
    after = made.network.encoder.state_dict()
    assert all(torch.equal(after[name], was) for name, was in before.items())
    assert not any(each.training for each in made.network.encoder.backbone.modules())


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_loss_falls(tmp_path: Path, plan: str) -> None:
    made = tiny_prn(tmp_path, TINY_PLANS[plan])
    state = TrainingState(made.network, made.normals, OptimizerConfig(learning_rate=3e-3))
    squares = Squares(made.normals.pixels, size=8)
    losses = [float(state.step(squares.batch(step), 1.0, step).total) for step in range(60)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_patches_can_be_put_together_again(grid: int) -> None:
    x = torch.randn(2, 3, 8, 16).to(memory_format=torch.channels_last)
    tokens = _patches(x, grid)
    assert tokens.shape == (2, grid * grid, 3 * 8 * 16 // grid**2)
    assert torch.equal(_unpatched(tokens, 3, 8, 16, grid), x)
    assert torch.equal(tokens, _patches(x.contiguous(), grid))


@pytest.mark.parametrize(("side", "grid"), [((16, 16), 8), ((14, 14), 2), ((12, 16), 4)])
def test_grid_fits_the_map(side: tuple[int, int], grid: int) -> None:
    assert fitting_grid(*side, 8) == grid


@pytest.mark.parametrize("comparison", ["scaled", "cosine"])
def test_attention_is_softmax_of_patches_written_out(comparison: str) -> None:
    torch.manual_seed(2)
    block = MultiSizeAttention(8, 8, comparison).eval()
    block.mix = torch.nn.Identity()
    x = torch.randn(1, 8, 8, 8)
    projected = block.project(x)
    value = projected[:, 12:]
    got = block(x) - x
    assert torch.allclose(got[:, :2], value[:, :2], atol=1e-6)  # one token: its own value
    query, key = projected[:, 2:4], projected[:, 8:10]  # chunk of 4 x 4 tokens, 2 channels
    corners = [(row, column) for row in range(0, 8, 2) for column in range(0, 8, 2)]
    rows = [
        torch.stack([each[0, :, r : r + 2, c : c + 2].ravel() for r, c in corners])
        for each in (query, key, value[:, 4:6])
    ]
    if comparison == "cosine":
        logits = 10 * torch.nn.functional.cosine_similarity(rows[0][:, None], rows[1][None], dim=2)
    else:
        logits = rows[0] @ rows[1].T / 8**0.5
    wanted = (logits.softmax(dim=1) @ rows[2])[5].reshape(2, 2, 2)  # token at row 1, column 1
    assert torch.allclose(got[0, 4:6, 2:4, 2:4], wanted, atol=1e-5)


def test_every_scale_hears_of_every_other() -> None:
    torch.manual_seed(1)
    fusion = Fusion((4, 4, 4)).eval()
    scales = [torch.rand(1, 4, side, side) + 1 for side in (8, 4, 2)]
    before = fusion(tuple(scales))
    for changed in range(3):
        after = fusion(tuple(s + (place == changed) for place, s in enumerate(scales)))
        assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_exported_graph_computes_the_same_in_every_engine(
    tmp_path: Path, frames: np.ndarray, plan: str
) -> None:
    network = trained(tmp_path, TINY_PLANS[plan])
    content = export_onnx(network, frames)
    assert len(residual_nodes(onnx.load_model_from_string(content))) == 1
    path = tmp_path / "prn.onnx"
    thresholds = Thresholds(image=0.5, pixel=0.5, method="set by hand", normals=0)
    snapshot = Snapshot(name="toy", sha256="0" * 64, normals=20)
    write_engine(path, content, "prn", (SIZE, SIZE), thresholds, snapshot, {})
    wanted = run_torch(network, frames)
    for backend in ("openvino", "onnxruntime"):
        with open_engine(path, backend) as opened:
            got = opened.engine.score(frames)
            # float32 sums in another order through some fifty layers
            assert np.allclose(got.score, wanted.score, atol=1e-5), backend
            assert np.allclose(got.maps, wanted.maps, atol=1e-5), backend
            assert np.allclose(got.distance, wanted.distance, rtol=1e-5), backend
            assert np.array_equal(got.nearest, wanted.nearest), backend


def test_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    first, second = (tiny_prn(tmp_path, seed=4).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = tiny_prn(tmp_path, seed=5).network.state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_prototypes_are_a_tenth_of_the_normal_pictures(tmp_path: Path) -> None:
    made = make_prn(TinyBackbone(), normal_pictures(31), TINY, NetworkParts(), tmp_path, 1)
    assert [len(each) for each in made.normals.prototypes] == [3, 3, 3]


def test_normal_picture_with_a_stain_of_its_own_is_the_rarest(tmp_path: Path) -> None:
    pictures = normal_pictures(31)
    pictures[17, 4:12, 20:28] = 200
    made = make_prn(TinyBackbone(), pictures, TINY, NetworkParts(), tmp_path, 1)
    assert made.rarity.shape == (31,)
    assert made.rarity.argmax() == 17


def test_bottleneck_begins_from_a_published_fourth_stage(tmp_path: Path) -> None:
    torch.manual_seed(8)
    published = residual_stage(12, 16, 2)
    tensors = {f"layer4.{name}": each for name, each in published.state_dict().items()}
    save_file(tensors, tmp_path / "full.safetensors")
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "no4.safetensors")
    head = tiny_prn(tmp_path, TINY_PAPER).network.head
    assert not load_layer4(head, tmp_path / "no4.safetensors")
    assert load_layer4(head, tmp_path / "full.safetensors")
    x = torch.rand(2, 12, 4, 4)
    assert torch.allclose(head.bottom.eval()(x), published.eval()(x), atol=1e-6)


def test_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="48x48"):
        make_prn(TinyBackbone(), normal_pictures(size=48), TINY, NetworkParts(), tmp_path, 1)


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_map_is_the_heads_and_a_hundredth_of_the_untrained_residual(
    tmp_path: Path, plan: str, frames: np.ndarray
) -> None:
    network = trained(tmp_path, TINY_PLANS[plan])
    plain = PRN(
        network.encoder,
        tuple(each.prototypes for each in network.compared),
        network.head,
        FeatureScale((), network.usual_distances),
        residual_map=False,
    ).eval()
    pictures = torch.from_numpy(frames)
    with torch.inference_mode():
        score, maps, nearest, distance = network(pictures)
        plain_score, plain_maps, plain_nearest, plain_distance = plain(pictures)
    for one, other in [(score, plain_score), (nearest, plain_nearest), (distance, plain_distance)]:
        assert torch.equal(one, other)
    odd = torch.zeros_like(maps)
    features = network.encoder(pictures)[1]
    with torch.inference_mode():
        for scale, each in enumerate(network.compared):
            residual = each(features[scale])[0].mean(dim=1)  # [N, h, w]
            usual = network.usual_distances[scale] / each.prototypes[0].numel()
            grown = functional.interpolate(residual[:, None] / usual, (SIZE, SIZE), mode="bilinear")
            odd += grown[:, 0] / len(network.compared)
    assert odd.std(dim=(1, 2)).min() > 0  # not the same everywhere
    wanted = 1 - (1 - plain_maps) * (1 - (RESIDUAL_WEIGHT * odd).clamp(max=1))
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-6)


def test_map_without_prototypes_is_the_heads_alone(tmp_path: Path, frames: np.ndarray) -> None:
    network = tiny_prn(tmp_path, TINY, NetworkParts(prototypes=False)).network.eval()
    pictures = torch.from_numpy(frames)
    with torch.inference_mode():
        maps = network(pictures)[1]
        torch.testing.assert_close(maps, network.logits(pictures).sigmoid())
