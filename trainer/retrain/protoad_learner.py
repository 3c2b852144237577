"""ProtoAD for a retrain: prototypes are all that it learns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engines.manifest import Thresholds
from trainer.networks.backbones import load_backbone, read_tensors
from trainer.networks.proto_ad import PatchEncoder, ProtoAD
from trainer.results.drawing import save_picture
from trainer.results.sheets import score_histogram
from trainer.retrain.learner import Facts, Task
from trainer.retrain.prototype_diff import Prototypes
from trainer.retrain.weights import NETWORK_NAME, write_tensors
from trainer.seen import SEEN_NAME
from trainer.training.protoad import (
    ENGINE_NAME,
    NormalParts,
    ProtoAdRecipe,
    TrainedProtoAd,
    calibrate_protoad,
    learn_protoad,
    read_normals,
    set_determinism,
    write_learned,
)

_HELD_OUT_SHARE = 0.2


class ProtoAdLearner:
    """Learns from the normal pictures of a snapshot in under a minute."""

    def __init__(self, task: Task) -> None:
        self._task = task
        given = task.recipe
        self._recipe = ProtoAdRecipe(
            size=(given.size, given.size),
            seed=given.seed,
            false_reject_rate=given.false_reject_rate,
            held_out_share=_HELD_OUT_SHARE,
            max_normals=given.max_normals,
            clustering=given.clustering,
        )
        self._parts: NormalParts | None = None
        self._network: ProtoAD | None = None
        set_determinism(given.seed)

    def make_prototypes(self) -> Prototypes:
        """See `Learner`."""
        task = self._task
        backbone = load_backbone(task.recipe.backbone, task.recipe.weights)
        self._network = learn_protoad(self._read(), backbone, self._recipe, task.steps)
        rows = self._network.prototypes.T.contiguous()
        write_tensors(task.folder / NETWORK_NAME, {"prototypes": rows})
        return (rows.numpy(),)

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        """See `Learner`."""
        del seconds, worked
        return {"trained": False, "why": "protoad has nothing but prototypes to learn"}

    def calibrate(self) -> Thresholds:
        """See `Learner`."""
        learned = self._calibrated()
        sheet = score_histogram(learned.held_out_scores, learned.thresholds.image)
        save_picture(self._task.folder / "held_out_scores.png", sheet)
        return learned.thresholds

    def export(self, thresholds: Thresholds) -> Path:
        """See `Learner`."""
        task, parts = self._task, self._read()
        scores = np.empty(0, np.float32)  # calibrated before, and not asked for here
        learned = TrainedProtoAd(
            self._made(), thresholds, scores, len(parts.learned), parts.pictures
        )
        folder = task.folder / "engine"
        name, backbone = task.dataset.name, task.recipe.backbone
        write_learned(folder, name, learned, self._recipe, backbone, task.steps)
        return folder / ENGINE_NAME

    def extra_files(self) -> tuple[Path, ...]:
        """See `Learner`."""
        return (self._task.folder / "engine" / SEEN_NAME,)

    def _read(self) -> NormalParts:
        if self._parts is None:
            self._parts = read_normals(self._task.dataset, self._recipe, self._task.steps)
        return self._parts

    def _made(self) -> ProtoAD:
        """Return the network, from the run folder where another process made it."""
        if self._network is None:
            task = self._task
            rows = read_tensors(task.folder / NETWORK_NAME)["prototypes"]
            encoder = PatchEncoder(load_backbone(task.recipe.backbone, task.recipe.weights)).eval()
            self._network = ProtoAD(encoder, rows).eval()
        return self._network

    def _calibrated(self) -> TrainedProtoAd:
        return calibrate_protoad(self._made(), self._read(), self._recipe, self._task.steps)
