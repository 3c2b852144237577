"""Labels as an operator would give them, from the truth of a test folder."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.pictures.masks import read_mask
from pipeline.archive import Archive, ArchivedFrame
from pipeline.demo.loop.data import kind_of_picture, mask_of
from pipeline.demo.loop.report import VerdictRow
from pipeline.demo.summary import GOOD
from pipeline.errors import LabelError
from pipeline.label_rules import label_mask
from pipeline.labels import Label, LabelKind

ACCEPTED_OVERLAP = 0.5  # of predicted and true mask: an operator would accept the prediction


def label_lines(
    rows: Iterable[VerdictRow], names: Mapping[str, str], data: Path, archive: Archive, masks: Path
) -> Iterator[dict[str, Any]]:
    """Yield a line for `pipeline-label --from` for each verdict.

    Of a defect the predicted mask is accepted where it overlaps the true one by half, else the true
    one is drawn into `masks`.

    Args:
        rows: verdicts.
        names: picture in `data` by part id.
        data: folder in MVTec layout.
        archive: has every frame of `rows`.
        masks: folder for masks that had to be drawn.
    """
    masks.mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = names[row["part_id"]]
        line: dict[str, Any] = {"entry": row["entry_id"], "by": "pipeline-loop"}
        if kind_of_picture(name) == GOOD:
            yield line | {"as": LabelKind.NORMAL.value}
            continue
        frame = archive.find(row["entry_id"])
        drawn = mask_of(data, name)
        assert frame is not None and drawn is not None  # noqa: S101, PT018  # both were just made
        truth = _resized(read_mask(drawn), frame.pixels.shape[:2])
        line |= {"as": LabelKind.DEFECT.value, "defect": kind_of_picture(name)}
        if _overlap(frame, truth) >= ACCEPTED_OVERLAP:
            yield line | {"predicted": True}
            continue
        path = masks / f"{row['part_id']}.png"
        cv2.imwrite(str(path), truth.astype(np.uint8) * 255)
        yield line | {"mask": str(path)}


def _overlap(frame: ArchivedFrame, truth: NDArray[np.bool_]) -> float:
    """Intersection over union of the predicted mask and the true one; 0 without a prediction."""
    said = Label(frame.entry_id, LabelKind.DEFECT, predicted=True)
    try:
        predicted = label_mask(said, frame)
    except LabelError:
        return 0.0
    if predicted is None:
        return 0.0
    return float((predicted & truth).sum() / max(1, (predicted | truth).sum()))


def _resized(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Resize by area, so that no thin defect vanishes."""
    height, width = size
    shrunk = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    grown: NDArray[np.bool_] = shrunk > 0
    return grown
