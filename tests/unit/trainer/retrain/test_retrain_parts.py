"""The pure parts of a retrain."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fakes.prn import tiny_prn
from fakes.registry import make_engine
from onnx import TensorProto, helper, numpy_helper

from engines.registry.registry import Registry
from engines.residual.operator import DOMAIN, OPERATOR
from trainer.errors import BudgetError, CheckpointError
from trainer.retrain.candidate import AFTER_FIT, fit_seconds
from trainer.retrain.incumbent import fetch_incumbent
from trainer.retrain.prototype_diff import compare, draw_moves, read_prototypes, say
from trainer.retrain.run import recipe_values
from trainer.retrain.weights import (
    begin_from,
    learned_tensors,
    read_start,
    restore,
    write_head,
    write_tensors,
)
from trainer.retrain_settings import RetrainSettings
from trainer.training.validation import (
    ValidationSplit,
    split_normals_by_content,
    split_seen_by_content,
)


def test_run_is_recognised_by_the_plain_values_of_its_recipe_and_by_nothing_else() -> None:
    paths = {"weights": Path("resnet18.pth"), "start": Path("/heads/head.safetensors")}
    where = {"store": Path("store"), "registry": "registry", "runs": Path("runs")}
    settings = RetrainSettings.model_validate(where | paths | {"steps": 400, "again": True})
    assert recipe_values(settings) == {
        "model": "prn-s",
        "backbone": "efficientnet_lite0",
        "weights": "resnet18.pth",
        "prototypes_only": False,
        "minutes": 30.0,
        "fit_steps": 400,
        "size": 256,
        "seed": 1,
        "false_reject_rate": 0.01,
        "max_normals": 2000,
        "textures": None,
        "device": "auto",
        "start": "/heads/head.safetensors",
        "plan": None,
    }
    other = RetrainSettings.model_validate(where | {"clustering": "farthest"})
    assert recipe_values(other)["clustering"] == "farthest"


def apart(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 50)).astype(np.float32)


def test_prototypes_that_are_the_same_stay_whatever_their_order(rng: np.random.Generator) -> None:
    old = apart(12)
    order = rng.permutation(12)
    (diff,) = compare([old], [old[order]])
    assert diff.count("same") == 12
    assert [change.was for change in diff.changes] == order.tolist()
    assert diff.gone == ()


def test_moved_new_and_gone_prototypes_are_told_apart() -> None:
    old = apart(10)
    moved = old[0] + 0.1 * np.linalg.norm(old[0] - old[1]) * np.eye(50, dtype=np.float32)[0]
    strange = 40 + apart(2, seed=2)
    (diff,) = compare([old], [np.stack([moved, *old[2:]]).astype(np.float32)])
    assert (diff.count("same"), diff.count("moved"), diff.gone) == (8, 1, (1,))
    assert 0.05 < (diff.changes[0].steps or 0) < 0.2
    (diff,) = compare([old], [np.concatenate([old, strange])])
    assert (diff.count("new"), diff.gone) == (2, ())
    assert [change.index for change in diff.changes if change.state == "new"] == [10, 11]


def test_without_old_prototypes_or_of_another_size_all_are_new() -> None:
    for old in ([], [apart(4)[:, :7]]):
        diffs = compare(old, [apart(3)])
        assert say(diffs) == "0 stayed, 0 moved, 3 are new, 0 are gone"


def test_one_bar_is_drawn_for_each_prototype() -> None:
    old = apart(10)
    sheet = draw_moves(compare([old, old], [old[:5], apart(30, seed=4)]))
    assert sheet.shape == (2 * 180, 960, 3)
    assert (sheet != 255).any()


def write_model(path: Path, nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray]) -> None:
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    named = [numpy_helper.from_array(each, name) for name, each in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", value, value, named)), path)


def test_whole_maps_are_read_from_the_node_that_compares_with_them(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    shapes = {"a": (3, 2, 4, 4), "b": (5, 4, 2, 2), "c": (2, 8, 1, 1)}
    maps = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    inputs = ["f1", "a", "f2", "b", "f3", "c"]
    node = helper.make_node(OPERATOR, inputs, ["y"], domain=DOMAIN)
    write_model(tmp_path / "prn-s.onnx", [node], maps | {"head": np.ones(3, np.float32)})
    found = read_prototypes(tmp_path / "prn-s.onnx")
    assert len(found) == 3
    for rows, each in zip(found, maps.values(), strict=True):
        np.testing.assert_array_equal(rows, each.reshape(len(each), -1))


def test_places_are_joined_from_their_chunks(tmp_path: Path) -> None:
    scales = {"fine": 2, "middle": 3, "coarse": 4}
    rows = np.arange(5 * 9, dtype=np.float32).reshape(5, 9)
    tensors, left = {}, 0
    for scale, width in scales.items():
        for number, part in enumerate((rows[:3], rows[3:])):
            kernel = np.ascontiguousarray(part[:, left : left + width])[:, :, None, None]
            tensors[f"chunks.{number}.{scale}"] = kernel
        left += width
    write_model(tmp_path / "protoad.onnx", [], tensors)
    (found,) = read_prototypes(tmp_path / "protoad.onnx")
    np.testing.assert_array_equal(found, rows)


def test_network_without_prototypes_has_none(tmp_path: Path) -> None:
    write_model(tmp_path / "other.onnx", [], {"head": np.ones(3, np.float32)})
    assert read_prototypes(tmp_path / "other.onnx") == ()


def test_training_gets_what_the_stages_after_it_leave() -> None:
    measured = dict.fromkeys(AFTER_FIT, 10.0)
    assert fit_seconds(10, 100.0, measured) == pytest.approx(600 - 100 - 80)
    with pytest.raises(BudgetError, match="--prototypes-only"):
        fit_seconds(2, 30.0, measured)
    assert fit_seconds(2, 30.0, measured, begun=True) == pytest.approx(10)
    assert fit_seconds(1, 30.0, measured, begun=True) == 0


def shas(count: int) -> list[str]:
    return [hashlib.sha256(f"{number}".encode()).hexdigest() for number in range(count)]


@pytest.mark.parametrize(
    ("divide", "few", "share"),
    [(split_normals_by_content, 40, 0.12), (split_seen_by_content, 5, 0.1)],
)
def test_pictures_that_join_later_move_none_between_learned_and_held_out(
    divide: Callable[[list[str]], ValidationSplit], few: int, share: float
) -> None:
    after = divide(shas(400))
    for count in (few, 19, 30, 200):
        before = divide(shas(max(count, few)))
        assert set(before.held) <= set(after.held)
        assert set(before.learned) <= set(after.learned)
    assert 0.6 * share < len(after.held) / 400 < 1.6 * share


@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_one_normal_picture_at_least_is_held_out(count: int) -> None:
    division = split_normals_by_content(shas(count))
    assert len(division.held) >= 1
    assert sorted([*division.learned, *division.held]) == list(range(count))


def test_head_begins_from_the_weights_that_another_left(tmp_path: Path) -> None:
    old, new = tiny_prn(tmp_path, seed=1).network, tiny_prn(tmp_path, seed=2).network
    with torch.no_grad():
        for each in new.head.parameters():
            each.add_(0.5)
    write_head(tmp_path / "head.safetensors", old)
    begin_from(new.head, read_start(tmp_path / "head.safetensors"))
    wanted = dict(old.head.named_parameters())
    for name, each in new.head.named_parameters():
        assert torch.equal(each, wanted[name]), name


def test_head_of_another_network_is_refused(tmp_path: Path) -> None:
    network = tiny_prn(tmp_path).network
    write_tensors(tmp_path / "head.safetensors", {"decode.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match="another network, backbone"):
        begin_from(network.head, read_start(tmp_path / "head.safetensors"))


def test_kept_network_is_restored_whole(tmp_path: Path) -> None:
    old, new = tiny_prn(tmp_path, seed=1).network, tiny_prn(tmp_path, seed=2).network
    restore(new, learned_tensors(old), tmp_path / "network.safetensors")
    for name, each in learned_tensors(new).items():
        assert torch.equal(each, learned_tensors(old)[name]), name
    with pytest.raises(CheckpointError, match="lacks"):
        restore(new, {}, tmp_path / "network.safetensors")


def test_retrain_begins_from_what_the_lines_serve_not_from_what_they_refused(
    tmp_path: Path,
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    names = [
        registry.register(make_engine(tmp_path / f"run{number}", salt=number)).name
        for number in range(2)
    ]
    for name in names:
        pointer = registry.promote(name, "night")
    registry.refuse(names[1], pointer.at, "fewer parts are NG", "line-1, a")
    incumbent = fetch_incumbent(registry, tmp_path / "runs")
    assert incumbent is not None
    assert incumbent.name == names[0]
