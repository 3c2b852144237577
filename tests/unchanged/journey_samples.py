"""A sample store: what is taken, labelled, released and exported, and the files it leaves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import dump_wire
import numpy as np
from names import look_up
from numpy.typing import NDArray
from shell import Shell, shell

SIDE = 64
NORMALS, DEFECTS = 24, 16
_ENTRY = "1764140400000-0"


def capture(root: Path) -> dict[str, Any]:
    """Return what the commands said and every file of the store and of an export."""
    with shell(root) as opened:
        fill_store(opened.folder / "store", 6, 5)
        taken = _take_labels(opened)
        said = _decide(opened)
        snapshot = _snapshot(opened)
        files = {
            name: opened.shown.tree(
                opened.folder / name, left_out=lambda path: path.name == ".lock"
            )
            for name in ("store", "out")
        }
    return {"taken": taken, "said": said, "snapshot": snapshot, "files": files}


def fill_store(folder: Path, normals: int = NORMALS, defects: int = DEFECTS) -> None:
    """Fill a store with dark plates, and with plates that have a bright spot."""
    with look_up("SampleStore").open(folder) as store:
        for picture, kind, mask, name in _plates(normals, defects):
            store.add(picture, kind, mask, look_up("LabelSource")(name))
        for row in store.pictures():
            if row.place == "incoming":
                store.keep(row.sha)


def _plates(
    normals: int, defects: int
) -> Iterator[tuple[NDArray[np.uint8], str, NDArray[np.bool_] | None, str]]:
    rng = np.random.default_rng(1)
    for number in range(normals + defects):
        picture = rng.integers(20, 120, (SIDE, SIDE, 3)).astype(np.uint8)
        picture = np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8)
        if number < normals:
            yield picture, "good", None, f"plate-{number}"
            continue
        mask = np.zeros((SIDE, SIDE), np.bool_)
        mask[4:60, 4:60] = True
        picture[mask] = 250 - rng.integers(0, 40, (int(mask.sum()), 3)).astype(np.uint8)
        yield picture, "spot", mask, f"plate-{number}"


def _take_labels(opened: Shell) -> dict[str, str]:
    """Take labels of a line, with and without their frame."""
    frame = look_up("ArchivedFrame")(_ENTRY, next(_plates(0, 1))[0], _verdict())
    outline = (((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)),)
    labels = {
        "1-0": (dump_wire.label(defect="dent", outlines=outline), frame),
        "2-0": (dump_wire.label(), frame),
        "3-0": (look_up("Label")("5-5", look_up("LabelKind")("normal"), by="ben", at_ns=1), None),
        "4-0": (look_up("Label")(_ENTRY, look_up("LabelKind")("unsure"), by="ben", at_ns=2), None),
    }
    taken: dict[str, str] = {}
    with look_up("SampleStore").open(opened.folder / "store") as store:
        for label_id, (label, archived) in labels.items():
            added = store.take_label("line-1", label_id, label, archived)
            taken[label_id] = "recorded" if added is None else added.state
        taken["read to"] = store.labels_read("line-1")
    return taken


def _verdict() -> dict[str, Any]:
    judged = dump_wire.judgement(full=False)
    decision = look_up("Decision")("NG")
    verdict = look_up("Verdict")("line-1", dump_wire.meta(), decision, None, judged, _ENTRY)
    return dict(look_up("verdict_fields")(verdict, with_mask=True))


def _decide(opened: Shell) -> dict[str, Any]:
    with look_up("SampleStore").open(opened.folder / "store") as store:
        kept = [row for row in store.pictures() if row.place == "kept" and row.kind == "good"]
        first, second, third = (row.sha for row in kept[:3])
        for sha in (first, second, third):
            store.hold(sha, ["unlike the others", "blurred"])
    said = _Said(opened)
    said("list")
    said("list", "--json")
    said("release", first[:12], "--as", "scratch", "--by", "anna")
    said("release", second[:12], "--as", "good", "--by", "anna")
    said("release", first[:12], "--as", "good")
    said("release", third[:12], "--as", "a/b")
    said("reject", third[:12], "--by", "ben")
    said("reject", "ffff")
    said("release", "ab")
    said("export", "out")
    said("export", "out")
    said("list", store="nowhere")
    return said.steps


class _Said:
    """What `trainer-samples` said at each step."""

    def __init__(self, opened: Shell) -> None:
        self._shell = opened
        self.steps: dict[str, Any] = {}

    def __call__(self, *arguments: str, store: str = "store") -> None:
        step = f"{len(self.steps):02} {' '.join(arguments)}"
        self.steps[step] = self._shell.run("trainer-samples", *arguments, "--store", store)


def _snapshot(opened: Shell) -> str:
    with look_up("SampleStore").open(opened.folder / "store") as store:
        return str(store.snapshot().sha256)
