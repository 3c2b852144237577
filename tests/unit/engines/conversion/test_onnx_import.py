"""Models in the form that anomalib's exporter writes, on our engines."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from engines.conversion import onnx_import
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.foreign.source import MAX_BYTES
from engines.conversion.map_summary import add_map_summary
from engines.conversion.onnx_import import import_model
from engines.errors import ManifestError
from engines.manifest import read_manifest
from engines.open import open_engine

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = (48, 64)
ASKED = {"input_scale": 1.0, "image_threshold": 0.5, "pixel_threshold": 0.5}  # of unknown names


class Patches(nn.Module):
    """What anomalib exports: resize and normalise, distances to a memory, scores around 0.5."""

    def __init__(
        self, side: int = 32, names: tuple[str, ...] = ("pred_score", "anomaly_map")
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.memory = nn.Parameter(torch.randn(8, 5))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.side, self.names = side, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = functional.interpolate(images, size=(self.side, self.side), mode="bilinear")
        x = self.features((x - self.mean) / self.std)
        near = (x.flatten(2).transpose(1, 2) @ self.memory).amax(dim=2)
        maps = near.reshape(-1, 1, self.side // 2, self.side // 2)
        maps = functional.interpolate(maps, size=(self.side, self.side), mode="bilinear")
        answers = {
            "pred_score": (maps.amax(dim=(1, 2, 3)) / 10).clamp(0, 1),
            "pred_label": maps.amax(dim=(1, 2, 3)) > 5,
            "anomaly_map": (maps / 10).clamp(0, 1),
            "flat_map": (maps / 10).clamp(0, 1)[:, 0],
        }
        return tuple(answers[name] for name in self.names)


def exported(path: Path, model: Patches, **changed: object) -> Path:
    """Export as anomalib's to_onnx does: TorchScript, operator set 14, names of the outputs."""
    how = {
        "opset_version": 14,
        "input_names": ["input"],
        "output_names": list(model.names),
        "dynamic_axes": {"input": {0: "batch_size", 2: "height", 3: "width"}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is an old one
        torch.onnx.export(
            model.eval(), (torch.zeros(1, 3, *SIZE),), str(path), dynamo=False, **(how | changed)
        )
    return path


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("pred_score", "pred_label", "anomaly_map")
    return exported(tmp_path_factory.mktemp("anomalib") / "model.onnx", Patches(names=names))


def frames(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def wanted(model: Patches, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and map as the model itself gives them; the map at the frames' size."""
    with torch.inference_mode():
        score, maps = model.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        maps = functional.interpolate(maps, size=SIZE, mode="bilinear")[:, 0]
    return score.numpy(), maps.numpy()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_exported_model_judges_as_it_did_where_it_came_from(
    tmp_path: Path, patches: Path, backend: str
) -> None:
    engine = tmp_path / "patchcore.onnx"
    manifest = import_model(patches, engine, ImportOptions(size=SIZE, name="patchcore"))
    assert manifest == read_manifest(engine)
    assert (manifest.model, manifest.max_batch, manifest.thresholds.image) == ("patchcore", 32, 0.5)
    score, maps = wanted(Patches(), frames())
    with open_engine(engine, backend) as opened:
        got = opened.engine.score(frames())
        assert np.allclose(got.score, score, atol=1e-5)  # float32 sums in another order
        assert np.allclose(got.maps, maps, atol=1e-5)
        assert got.nearest is None


def test_model_without_a_score_takes_the_peak_of_its_map(tmp_path: Path) -> None:
    model = Patches(side=64, names=("flat_map",))
    source = exported(tmp_path / "model.onnx", model)
    options = ImportOptions(size=SIZE, map="flat_map", **ASKED)
    import_model(source, tmp_path / "engine.onnx", options)
    with open_engine(tmp_path / "engine.onnx", "onnxruntime") as opened:
        got = opened.engine.score(frames())
    score, maps = wanted(Patches(side=64), frames())
    assert np.allclose(got.score, score, atol=1e-5)
    assert np.allclose(got.maps, maps, atol=1e-5)


def test_normalisation_can_stand_outside_the_model(tmp_path: Path) -> None:
    bare = Patches()
    bare.mean, bare.std = torch.zeros_like(bare.mean), torch.ones_like(bare.std)
    source = exported(tmp_path / "model.onnx", bare)
    options = ImportOptions(size=SIZE, mean=MEAN, std=STD)
    import_model(source, tmp_path / "engine.onnx", options)
    with open_engine(tmp_path / "engine.onnx", "onnxruntime") as opened:
        got = opened.engine.score(frames())
    assert np.allclose(got.score, wanted(Patches(), frames())[0], atol=1e-4)


def test_fixed_batch_and_size_are_kept(tmp_path: Path) -> None:
    source = exported(tmp_path / "model.onnx", Patches(), dynamic_axes={})
    manifest = import_model(source, tmp_path / "engine.onnx", ImportOptions())
    assert ((manifest.height, manifest.width), manifest.max_batch) == (SIZE, 1)
    with open_engine(tmp_path / "engine.onnx", "onnxruntime") as opened:
        assert opened.engine.score(frames(1)).maps.shape == (1, *SIZE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ImportOptions(), "set one with --size"),
        (ImportOptions(size=SIZE, map="heat"), "has no output 'heat'"),
        (ImportOptions(size=SIZE, score="pred_label"), "is bool .* expected one float a frame"),
        (ImportOptions(size=(5000, 64)), r"not \[5000, 64\]"),
    ],
)
def test_wishes_that_do_not_fit_are_named(
    tmp_path: Path, patches: Path, options: ImportOptions, words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        import_model(patches, tmp_path / "engine.onnx", options)
    assert not (tmp_path / "engine.onnx").exists()


def test_source_is_never_overwritten(patches: Path) -> None:
    before = patches.read_bytes()
    for target in (patches, patches.with_suffix(".engine")):
        with pytest.raises(ManifestError, match="needs another name"):
            import_model(patches, target, ImportOptions(size=SIZE))
    assert patches.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" + 40 * b"\xff"])
def test_foreign_bytes_are_no_model(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(content)
    with pytest.raises(ManifestError, match=r"model\.onnx"):
        import_model(source, tmp_path / "engine.onnx", ImportOptions())


def test_model_of_other_inputs_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5])
    out = helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, ["N", 5])
    node = helper.make_node("Relu", ["x"], ["anomaly_map"])
    graph = helper.make_graph([node], "g", [value], [out])
    source = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), source)
    with pytest.raises(ManifestError, match=r"expected one input float32 \[N, 3, H, W\]"):
        import_model(source, tmp_path / "engine.onnx", ImportOptions())


def test_model_of_a_fixed_batch_is_refused_in_one_sentence(tmp_path: Path) -> None:
    model = onnx.load(exported(tmp_path / "model.onnx", Patches(), dynamic_axes={}))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ManifestError, match=r"takes 4 frames at once.*for any number$"):
        import_model(tmp_path / "model.onnx", tmp_path / "engine.onnx", ImportOptions())


@pytest.fixture
def parted(tmp_path: Path, patches: Path) -> Path:
    """A graph with its weights in a file beside it."""
    source = tmp_path / "model.onnx"
    model = onnx.load(patches)
    onnx.save(model, source, save_as_external_data=True, location="model.data", size_threshold=0)
    return source


def refer(source: Path, **wanted: str) -> None:
    """Change what a graph says of its weights."""
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = wanted.get(entry.key, entry.value)
    onnx.save(model, source)


def test_origin_covers_the_weights_beside_the_graph(tmp_path: Path, parted: Path) -> None:
    origins = []
    for _ in range(2):
        manifest = import_model(parted, tmp_path / "engine.onnx", ImportOptions(size=SIZE))
        origins.append(manifest.built_from)
        weights = bytearray((tmp_path / "model.data").read_bytes())
        weights[0] ^= 1
        (tmp_path / "model.data").write_bytes(weights)
    assert origins[0] != origins[1]


def test_weights_referred_to_many_times_count_each_time(
    tmp_path: Path, parted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (tmp_path / "model.data").stat().st_size
    refer(parted, offset="0", length=str(whole))
    monkeypatch.setattr(onnx_import, "MAX_BYTES", parted.stat().st_size + 2 * whole)
    with pytest.raises(ManifestError, match="MiB with its weights, one ONNX file holds at most"):
        import_model(parted, tmp_path / "engine.onnx", ImportOptions(size=SIZE))


def test_graph_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ManifestError, match="one ONNX file holds at most"):
        import_model(tmp_path / "model.onnx", tmp_path / "engine.onnx", ImportOptions())


@pytest.mark.parametrize("wanted", [{"offset": "99999999"}, {"length": "99999999"}])
def test_weights_outside_their_file_are_refused(
    tmp_path: Path, parted: Path, wanted: dict[str, str]
) -> None:
    refer(parted, **wanted)
    with pytest.raises(ManifestError, match="copy both again"):
        import_model(parted, tmp_path / "engine.onnx", ImportOptions(size=SIZE))


def test_command_takes_a_model_over(tmp_path: Path, patches: Path) -> None:
    code = "from engines.cli import import_model; import_model()"
    engine = tmp_path / "engine.onnx"
    command = [sys.executable, "-c", code, str(patches), str(engine)]
    told = subprocess.run([*command, "--size", "48x64"], capture_output=True, text=True)  # noqa: PLW1510
    assert told.returncode == 0, told.stderr
    assert "frames of 48 x 64, up to 32 in a batch" in told.stdout.replace("\n", " ")
    wrong = subprocess.run([*command, "--mean", "0.5"], capture_output=True, text=True)  # noqa: PLW1510
    assert wrong.returncode == 2
    assert "expected 3" in wrong.stderr


def test_model_without_a_score_can_become_a_plan(tmp_path: Path) -> None:
    source = exported(tmp_path / "model.onnx", Patches(side=64, names=("flat_map",)))
    import_model(
        source, tmp_path / "engine.onnx", ImportOptions(size=SIZE, map="flat_map", **ASKED)
    )
    model = add_map_summary(onnx.load(tmp_path / "engine.onnx"), SIZE)
    onnx.checker.check_model(model, full_check=True)
    names = {name for node in model.graph.node for name in node.output}
    assert not any(name.startswith("inner/") for name in names)  # nothing had to be renamed
