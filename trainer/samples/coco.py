"""Labels of exported pictures as COCO annotation files: one region of a mask, one annotation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.dataset import GOOD, Sample
from trainer.outlines import counts_of_mask
from trainer.samples.files import write_file
from trainer.truth import read_truth

FOLDER = "annotations"


@dataclass(slots=True)
class CocoFile:
    """The annotation file of one part, as it grows."""

    kinds: Sequence[str]  # of defects; their place, from 1, is the category's number
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0  # defects without a mask, which COCO would show as good

    def add(self, name: str, sample: Sample) -> None:
        """Add a picture that was exported as `name`.

        Raises:
            PictureError: unreadable.
            MaskError: its mask is of no use.
        """
        if sample.kind != GOOD and sample.mask is None:
            self.left_out += 1
            return
        height, width = sample.read().shape[:2]
        image = len(self.images) + 1
        self.images.append({"id": image, "file_name": name, "height": height, "width": width})
        if sample.kind == GOOD:
            return
        truth = read_truth(sample, (height, width))
        count, regions = cv2.connectedComponents(truth.astype(np.uint8))
        for region in range(1, count):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image,
                    "category_id": self.kinds.index(sample.kind) + 1,
                    "iscrowd": 0,
                    **_region(np.asarray(regions == region)),
                }
            )

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            StoreError: the disk is full, or not ours to write.
        """
        categories = [{"id": place, "name": kind} for place, kind in enumerate(self.kinds, 1)]
        document = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        write_file(path, json.dumps(document).encode())


def _region(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "segmentation": {"size": list(mask.shape), "counts": counts_of_mask(mask)},
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
    }
