"""How a rebuild changed the prototypes: which stayed, which moved and how far, which are new.

Old and new prototypes are read from the engines' graphs, and paired so that the sum of their
distances is smallest. The unit of distance is a step: the median distance of an old prototype to
its nearest neighbour. A pair that lies more than a step apart is not a move: the old prototype is
gone, and the new one is new.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from pydantic import BaseModel, ConfigDict
from scipy.optimize import linear_sum_assignment

from engines.contract import read_graph
from engines.residual.function import residual_nodes
from trainer.results.drawing import write_text

SAME = 0.01  # steps, below which a prototype stayed
_STEP = 1.0  # beyond it, a pair is not a move
_BARS_HEIGHT, _WIDTH, _MARGIN = 120, 960, 30  # pixels
_WIDEST = 24  # a bar, pixels
_COLOURS = {"same": (150, 160, 170), "moved": (70, 120, 200), "new": (220, 120, 30)}
Rows = NDArray[np.float32]  # [K, D]
Prototypes = tuple[NDArray[np.float32], ...]  # [K, D] for each scale; for ProtoAD a single one
_CHUNK = re.compile(r"chunks\.(\d+)\.(fine|middle|coarse)")
_SCALES = ("fine", "middle", "coarse")


class PrototypeChange(BaseModel):
    """How one prototype of the new network relates to the old ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    state: Literal["same", "moved", "new"]
    was: int | None = None  # its index among the old ones
    steps: float | None = None  # from there


class ScaleDiff(BaseModel):
    """The prototypes of one scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: int
    after: int
    step: float  # in the unit of the features
    changes: tuple[PrototypeChange, ...]  # by index
    gone: tuple[int, ...]  # indices among the old ones

    def count(self, state: str) -> int:
        """Count the prototypes in this state."""
        return sum(change.state == state for change in self.changes)


def compare(before: Sequence[Rows], after: Sequence[Rows]) -> tuple[ScaleDiff, ...]:
    """Compare the prototypes of each scale, [K, D]; without old ones, all are new."""
    if len(before) != len(after):
        return tuple(_all_new(each) for each in after)
    return tuple(
        _compare(old, new) if old.shape[1] == new.shape[1] else _all_new(new)
        for old, new in zip(before, after, strict=True)
    )


def say(diffs: Sequence[ScaleDiff]) -> str:
    """Return a sentence that sums up the changes."""
    counts = {state: sum(diff.count(state) for diff in diffs) for state in _COLOURS}
    gone = sum(len(diff.gone) for diff in diffs)
    moves = [
        each.steps
        for diff in diffs
        for each in diff.changes
        if each.state == "moved" and each.steps is not None
    ]
    far = f" by {np.median(moves):.2f} steps (median)" if moves else ""
    return (
        f"{counts['same']} stayed, {counts['moved']} moved{far}, {counts['new']} are "
        f"new, {gone} are gone"
    )


def draw_moves(diffs: Sequence[ScaleDiff]) -> NDArray[np.uint8]:
    """Draw how far each prototype moved as bars, sorted, new ones full; uint8 [H, W, 3]."""
    bars = max(diff.after for diff in diffs)
    return np.concatenate([_draw_scale(number, diff, bars) for number, diff in enumerate(diffs)])


def _compare(old: Rows, new: Rows) -> ScaleDiff:
    step = _typical_gap(old)
    gaps = _gaps(old, new) / step  # [K_old, K_new]
    changes: dict[int, PrototypeChange] = {}
    gone = set(range(len(old)))
    for was, now in zip(*linear_sum_assignment(np.minimum(gaps, _STEP)), strict=True):
        far = float(gaps[was, now])
        if far <= _STEP:
            gone.discard(int(was))
            state: Literal["same", "moved"] = "same" if far < SAME else "moved"
            changes[int(now)] = PrototypeChange(
                index=int(now), state=state, was=int(was), steps=round(far, 6)
            )
    return ScaleDiff(
        before=len(old),
        after=len(new),
        step=step,
        changes=tuple(
            changes.get(index, PrototypeChange(index=index, state="new"))
            for index in range(len(new))
        ),
        gone=tuple(sorted(gone)),
    )


def _all_new(new: Rows) -> ScaleDiff:
    changes = tuple(PrototypeChange(index=index, state="new") for index in range(len(new)))
    return ScaleDiff(before=0, after=len(new), step=0.0, changes=changes, gone=())


def _typical_gap(rows: Rows) -> float:
    """Return the median distance of a row to its nearest neighbour; of a single row, its norm."""
    if len(rows) == 1:
        return max(float(np.linalg.norm(rows)), 1e-12)
    gaps = _gaps(rows, rows)
    np.fill_diagonal(gaps, np.inf)
    return max(float(np.median(gaps.min(axis=1))), 1e-12)


def _gaps(old: Rows, new: Rows) -> NDArray[np.float64]:
    """Return all pairwise distances; centred first, as cancellation would cost precision."""
    centre = old.mean(axis=0)
    left, right = old - centre, new - centre
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * (left @ right.T)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float64)


def _draw_scale(number: int, diff: ScaleDiff, bars: int) -> NDArray[np.uint8]:
    bar = max(1, min(_WIDEST, (_WIDTH - 2 * _MARGIN) // bars))
    width = max(_WIDTH, bar * bars + 2 * _MARGIN)
    sheet = np.full((_BARS_HEIGHT + 2 * _MARGIN, width, 3), 255, np.uint8)
    ordered = sorted(diff.changes, key=lambda each: _STEP if each.steps is None else each.steps)
    for place, change in enumerate(ordered):
        far = 1.0 if change.steps is None else max(change.steps / _STEP, 0.02)
        left, low = _MARGIN + place * bar, _MARGIN + _BARS_HEIGHT
        corner = (left + max(0, bar - 2), low)
        top = (left, low - round(far * _BARS_HEIGHT))
        cv2.rectangle(sheet, top, corner, _COLOURS[change.state], cv2.FILLED)
    text = (
        f"scale {number + 1}: {diff.count('same')} stayed (grey), {diff.count('moved')} moved "
        f"(blue, full height: a step), {diff.count('new')} new (orange), {len(diff.gone)} gone"
    )
    write_text(sheet, text, (_MARGIN, _MARGIN + _BARS_HEIGHT + 20))
    return sheet


def read_prototypes(engine: Path) -> Prototypes:
    """Read the prototypes of an ONNX engine file; () for a plan or a network without any."""
    if engine.suffix != ".onnx":
        return ()
    model = onnx.load_model_from_string(read_graph(engine))
    tensors = {each.name: each for each in model.graph.initializer}
    names = _names(model)
    if names and set(names) <= set(tensors):
        return tuple(_rows(numpy_helper.to_array(tensors[name])) for name in names)
    return _of_places({name: tensors[name] for name in tensors if _CHUNK.fullmatch(name)})


def _names(model: ModelProto) -> list[str]:
    """List the names of the whole-map prototypes: every second input of the residual's node."""
    return [name for node in residual_nodes(model) for name in node.input[1::2]]


def _of_places(chunks: dict[str, onnx.TensorProto]) -> Prototypes:
    """Join the kernels of ProtoAD's 1x1 convolutions, which hold its prototypes in chunks."""
    if not chunks:
        return ()
    count = 1 + max(int(name.split(".")[1]) for name in chunks)
    wanted = [[f"chunks.{number}.{scale}" for scale in _SCALES] for number in range(count)]
    if not {name for names in wanted for name in names} <= set(chunks):
        return ()
    rows = [
        np.concatenate([_rows(numpy_helper.to_array(chunks[name])) for name in names], axis=1)
        for names in wanted
    ]
    return (np.concatenate(rows),)


def _rows(prototypes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(prototypes.reshape(len(prototypes), -1), np.float32)
