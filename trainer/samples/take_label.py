"""A label of a line and its archived frame -> what the sample store is told."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import ArchivedFrame
from pipeline.errors import LabelError
from pipeline.labels import Label, LabelKind, label_mask
from trainer.dataset import GOOD
from trainer.layouts import DEFECT
from trainer.samples.records import Source

UNSURE = "unsure"
EXPIRED = "expired"
PREDICTED = "predicted"


@dataclass(frozen=True, slots=True)
class Told:
    """What a label says of its frame."""

    kind: str  # GOOD, or which defect; "": unsure
    mask: NDArray[np.bool_] | None
    note: str = ""  # why its mask is of no use, or that an engine drew it


def told_by(label: Label, frame: ArchivedFrame | None) -> Told:
    """Read a label; a mask that does not fit costs the mask, not the label."""
    if label.kind is LabelKind.UNSURE:
        return Told("", None, UNSURE)
    kind = GOOD if label.kind is LabelKind.NORMAL else label.defect or DEFECT
    if frame is None:
        return Told(kind, None, EXPIRED)
    try:
        mask = label_mask(label, frame)
        return Told(kind, mask, PREDICTED if label.predicted and mask is not None else "")
    except LabelError as error:
        return Told(kind, None, str(error))


def source_of(line: str, label_id: str, label: Label, frame: ArchivedFrame | None) -> Source:
    """Say where a label came from."""
    captured = frame.verdict.get("captured_ns") if frame else None
    return Source(
        origin=label.entry_id,
        line=line,
        label_id=label_id,
        by=label.by,
        at_ns=label.at_ns,
        captured_ns=captured if isinstance(captured, int) else 0,
    )
