"""PRN for a retrain: prototypes of new normal parts under the incumbent's head, or a new one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from engines.files import read_file, write_atomic
from engines.manifest import Thresholds
from trainer.anomalies.synthesis import AnomalyKinds
from trainer.choices import BATCH_SIZES, LEARNING_RATES, SIMULATED_CERTAINTY, PrnSize
from trainer.errors import CheckpointError
from trainer.networks.backbones import load_backbone, read_tensors
from trainer.networks.prn import PRN, PRN_CONFIGS, Encoder, FeatureScale, Head, NetworkParts
from trainer.results.drawing import save_picture
from trainer.results.sheets import LossCurve, draw_curves, score_histogram
from trainer.retrain.learner import Facts, Task
from trainer.retrain.prototype_diff import Prototypes
from trainer.retrain.weights import (
    HEAD_NAME,
    NETWORK_NAME,
    begin_from,
    learned_tensors,
    restore,
    write_head,
    write_tensors,
)
from trainer.seen import SEEN_NAME
from trainer.training.device import Precision, faster_precision
from trainer.training.fit import FitResult, StepReport
from trainer.training.prn.data import PreparedTraining, SupervisedRecipe, prepare_training
from trainer.training.prn.initial import InitialPrn
from trainer.training.prn.training import (
    TrainedPrn,
    begin_bottom,
    calibrate_prn,
    engine_path,
    fit_prn,
    make_initial_prn,
    write_prn,
)
from trainer.training.protoad import set_determinism
from trainer.training.schedule import Budget
from trainer.training.training_step import OptimizerConfig

FINE_TUNE_RATE = 0.3  # of the learning rate, for a head that knows the part already
_NOTE_EVERY_S = 10.0
_SESSION_NAME = "training.json"
_MAX_SESSION_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Session:
    """How a training was planned, and how long it became."""

    seconds: float = 0.0
    precision: Precision = "fp32"
    steps: int = 0


_SESSION = TypeAdapter(_Session)


class PrnLearner:
    """Learns from normal pictures and defects of a snapshot."""

    def __init__(self, task: Task, plan: PrnSize, device: torch.device) -> None:
        self._task = task
        self._plan = plan
        self._device = device
        self._prepared: PreparedTraining | None = None
        self._made: InitialPrn | None = None
        self._network: PRN | None = None
        set_determinism(task.recipe.seed)
        cv2.setNumThreads(1)  # batches are made beside the training, which needs the cores

    def make_prototypes(self) -> Prototypes:
        """See `Learner`."""
        network = self._untrained().network
        self._keep(network)
        return tuple(_rows(each.prototypes) for each in network.compared)

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        """See `Learner`."""
        task, left_out = self._task, "; ".join(self._gather().unreadable)
        if task.recipe.prototypes_only:
            return {
                "trained": False,
                "why": "only prototypes were asked for: the head stays",
                "left_out": left_out,
            }
        session = self._session(seconds)
        recipe, made = self._recipe(session), self._untrained()
        losses, show = LossCurve(), task.steps.training()
        noted = time.monotonic()

        def on_step(step: StepReport) -> None:
            nonlocal noted
            losses.add(step)
            show(step.done, step.end, f"loss {losses.curve[-1][1]:.4f}", step.seconds_left)
            if time.monotonic() - noted > _NOTE_EVERY_S:
                worked()
                noted = time.monotonic()

        until = time.monotonic() + seconds
        fitted = fit_prn(made, self._gather(), recipe, task.folder, on_step, self._device, until)
        save_picture(task.folder / "losses.png", draw_curves(losses.curve, fitted.checks))
        self._keep(made.network)
        self._note(replace(session, steps=fitted.steps))
        return {
            "trained": True,
            "steps": fitted.steps,
            "planned": fitted.planned,
            "stopped_early": fitted.stopped_early,
            "began_from": "an earlier head" if task.start else "fresh weights",
            "left_out": left_out,
        }

    def calibrate(self) -> Thresholds:
        """See `Learner`."""
        recipe = self._recipe()
        found = calibrate_prn(self._restored(), self._gather(), recipe, self._task.steps)
        sheet = score_histogram(found.held_out_scores, found.thresholds.image)
        save_picture(self._task.folder / "held_out_scores.png", sheet)
        return found.thresholds

    def export(self, thresholds: Thresholds) -> Path:
        """See `Learner`."""
        session = self._noted() or _Session()
        task, recipe, prepared = self._task, self._recipe(session), self._gather()
        fitted = FitResult(session.steps, session.steps, stopped_early=False, checks=())
        learned = TrainedPrn(
            self._restored(),
            fitted,
            thresholds,
            np.empty(0, np.float32),  # calibrated before, and not asked for here
            prepared.training_data,
            prepared.rest,
            pretrained_bottom=False,
        )
        folder = task.folder / "engine"
        folder.mkdir(exist_ok=True)
        write_prn(folder, task.dataset, learned, recipe, task.steps)
        return engine_path(folder, self._plan)

    def extra_files(self) -> tuple[Path, ...]:
        """See `Learner`."""
        return (self._task.folder / HEAD_NAME, self._task.folder / "engine" / SEEN_NAME)

    def _gather(self) -> PreparedTraining:
        if self._prepared is None:
            self._prepared = prepare_training(self._task.dataset, self._recipe(), self._task.steps)
        return self._prepared

    def _untrained(self) -> InitialPrn:
        """Make prototypes and a head that begins where it should; once in a process."""
        if self._made is not None:
            return self._made
        task, recipe = self._task, self._recipe()
        backbone = load_backbone(task.recipe.backbone, task.recipe.weights)
        made = make_initial_prn(self._gather(), backbone, recipe, task.folder, task.steps)
        if task.start is not None:
            begin_from(made.network.head, task.start)
        elif task.recipe.prototypes_only:
            raise CheckpointError(
                "--prototypes-only needs the head of the engine in force, which the registry does "
                "not hold: name its checkpoint.safetensors or head.safetensors with --start"
            )
        else:
            begin_bottom(made.network, recipe, task.recipe.weights)
        made.network.eval()
        self._made = made
        return made

    def _keep(self, network: PRN) -> None:
        write_tensors(self._task.folder / NETWORK_NAME, learned_tensors(network))
        write_head(self._task.folder / HEAD_NAME, network)
        self._network = network

    def _restored(self) -> PRN:
        """Return the network that was kept, from the run folder where another process made it."""
        if self._network is None:
            task, path = self._task, self._task.folder / NETWORK_NAME
            tensors = read_tensors(path)
            backbone = load_backbone(task.recipe.backbone, task.recipe.weights)
            feature_scale = FeatureScale(_ones(backbone.channels), torch.ones(3))
            head = Head(PRN_CONFIGS[self._plan], NetworkParts(), backbone, feature_scale)
            fine, middle, coarse = (tensors[f"residuals.{j}.prototypes"] for j in range(3))
            network = PRN(Encoder(backbone).eval(), (fine, middle, coarse), head, feature_scale)
            restore(network, tensors, path)
            self._network = network.eval()
        return self._network

    def _session(self, seconds: float) -> _Session:
        """Plan the training once: a process that goes on with it must not plan it otherwise."""
        session = self._noted()
        if session is None:
            planned_s = 0.0 if self._task.recipe.steps is not None else seconds
            session = _Session(planned_s, _precision(self._device))
            self._note(session)
        return session

    def _noted(self) -> _Session | None:
        path = self._task.folder / _SESSION_NAME
        return (
            _SESSION.validate_json(read_file(path, _MAX_SESSION_BYTES)) if path.is_file() else None
        )

    def _note(self, session: _Session) -> None:
        write_atomic(self._task.folder / _SESSION_NAME, _SESSION.dump_json(session))

    def _recipe(self, session: _Session | None = None) -> SupervisedRecipe:
        given, start, session = self._task.recipe, self._task.start, session or _Session()
        rate = LEARNING_RATES[self._plan] * (FINE_TUNE_RATE if start else 1)
        return SupervisedRecipe(
            plan=self._plan,
            backbone=given.backbone,
            size=(given.size, given.size),
            seed=given.seed,
            seen=None,
            leave_out=(),
            parts=NetworkParts(),
            anomalies=AnomalyKinds(certainty=SIMULATED_CERTAINTY),
            textures=given.textures,
            batch_size=BATCH_SIZES[self._plan],
            method=OptimizerConfig(
                learning_rate=rate,
                precision=session.precision,
                shards=2 if self._device.type == "cpu" else 1,
            ),
            budget=self._budget(session),
            false_reject_rate=given.false_reject_rate,
            max_normals=given.max_normals,
            start=start.sha256 if start else None,
            held_by="content",
        )

    def _budget(self, session: _Session) -> Budget:
        if self._task.recipe.steps is not None:
            return Budget(self._task.recipe.steps, "steps")
        return Budget(session.seconds / 60, "minutes")


def _precision(device: torch.device) -> Precision:
    return "bf16" if device.type == "cuda" else faster_precision(time.monotonic)


def _rows(prototypes: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ascontiguousarray(prototypes.flatten(1).numpy())


def _ones(channels: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    fine, middle, coarse = (torch.ones(each) for each in channels)
    return fine, middle, coarse
