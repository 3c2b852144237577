"""A retrain without torch's work: a learner that writes a small graph, and a store of plates."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from engines.manifest import Snapshot, Thresholds
from engines.registry.registry import Registry
from trainer.export.engine_file import write_engine
from trainer.progress import TerminalSteps
from trainer.retrain.learner import Facts, Learner, Task
from trainer.retrain.options import Dependencies, RetrainResult
from trainer.retrain.prototype_diff import Prototypes
from trainer.retrain.retrain import retrain
from trainer.retrain.run import StageEvent
from trainer.retrain_settings import RetrainSettings
from trainer.samples.records import LabelSource, SampleStatus
from trainer.samples.store import SampleStore

SIDE = 64
GOOD_SHARE = 0.45  # of full brightness, between plates and defects


def brightness_graph() -> bytes:
    """Mean brightness as the score, that of each pixel as the map."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "colour"], ["map"], keepdims=0),
        helper.make_node("ReduceMean", ["map", "plane"], ["score"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.float32(255), "full"),
        numpy_helper.from_array(np.array([3], np.int64), "colour"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "plane"),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", SIDE, SIDE]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class PlainLearner:
    """Leaves a file at each step, and needs that of the step before."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def make_prototypes(self) -> Prototypes:
        self._leave("network")
        return (np.eye(4, 6, dtype=np.float32),)

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        assert self._left("network")
        worked()
        self._leave("fitted")
        return {"trained": True, "steps": 1, "planned": 1, "began_from": f"{seconds:.0f} s"}

    def calibrate(self) -> Thresholds:
        assert self._left("fitted")
        return Thresholds(image=GOOD_SHARE, pixel=0.6, method="by hand", normals=9)

    def export(self, thresholds: Thresholds) -> Path:
        task = self._task
        engine = task.folder / "engine" / "small.onnx"
        snapshot = Snapshot(name="plates", sha256="0" * 64, normals=len(task.dataset.normals))
        size = (SIDE, SIDE)
        write_engine(engine, brightness_graph(), "small", size, thresholds, snapshot, {})
        return engine

    def extra_files(self) -> tuple[Path, ...]:
        return (self._task.folder / "fitted",)

    def _leave(self, name: str) -> None:
        (self._task.folder / name).write_text("there")

    def _left(self, name: str) -> bool:
        return (self._task.folder / name).is_file()


def fill_store(folder: Path, normals: int = 30, defects: int = 20, seed: int = 1) -> None:
    """Dark plates, and plates with a bright spot; noise keeps them apart."""
    rng = np.random.default_rng(seed)
    with SampleStore.open(folder) as store:
        for number in range(normals + defects):
            defective = number >= normals
            picture = rng.integers(20, 120, (SIDE, SIDE, 3)).astype(np.uint8)
            picture = cv2.GaussianBlur(picture, (3, 3), 0)
            mask = np.zeros((SIDE, SIDE), np.bool_)
            if defective:
                mask[4:60, 4:60] = True
                picture[mask] = 250 - rng.integers(0, 40, (int(mask.sum()), 3)).astype(np.uint8)
            kind = "spot" if defective else "good"
            source = LabelSource(f"{seed}-{number}")
            store.add(picture, kind, mask if defective else None, source)
        for picture_row in store.pictures(SampleStatus.INCOMING):
            store.keep(picture_row.sha)


def options(home: Path, **changed: object) -> RetrainSettings:
    """A retrain whose store, registry and runs lie in `home`."""
    given: dict[str, object] = {
        "store": home / "store",
        "registry": str(home / "registry"),
        "runs": home / "runs",
        "model": "prn-s",
        "size": SIDE,
        "minutes": 600,
        "allow_ungated": True,  # a store that proves something takes minutes to fill
    }
    return RetrainSettings(**(given | changed))  # type: ignore[arg-type]  # a test's shorthand


def run(
    home: Path,
    reached: Callable[[str, StageEvent], None] = lambda _, __: None,
    learner: Callable[[Task], Learner] = PlainLearner,
    **changed: object,
) -> RetrainResult:
    """Retrain once."""
    given = options(home, **changed)
    with TerminalSteps(Console(quiet=True)) as steps:
        said = home / "said.txt"

        def say(text: str) -> None:
            with said.open("a") as file:
                file.write(text + "\n")

        dependencies = Dependencies(steps, say, lambda _: 1, learner=learner, reached=reached)
        return retrain(given, Registry(given.registry), dependencies)


def killed_at(home: str, stage: str, point: StageEvent) -> None:
    """Retrain in this process, which kills itself at a point of a stage."""

    def reached(name: str, at: StageEvent) -> None:
        if (name, at) == (stage, point):
            os.kill(os.getpid(), signal.SIGKILL)

    run(Path(home), reached)


def full_from(home: str, stage: str) -> None:
    """Retrain in this process, which can write no byte more once it has reached a stage."""

    def reached(name: str, at: StageEvent) -> None:
        if (name, at) == (stage, "worked"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    try:
        run(Path(home), reached)
    except Exception as error:  # noqa: BLE001  # the parent reads what it was
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (Path(home) / "error.txt").write_text(f"{type(error).__name__}: {error}")
