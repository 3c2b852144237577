"""Fills a sample store and dies at its n-th write, for every n; says what did not hold.

Run by test_samples_kill.py. Each n is a forked child that kills itself before a call that writes:
a profile hook counts them, so that the store knows nothing of it.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pipeline.archive import ArchivedFrame
from pipeline.frames import Label, LabelKind
from trainer.layouts import find_samples
from trainer.samples.files import find_pictures
from trainer.samples.records import LabelSource, SampleStatus
from trainer.samples.store import SampleStore

WRITING = {"open", "write", "pwrite", "fsync", "replace", "mkdir", "unlink", "execute", "truncate"}
WROTE = {"execute", "replace"}  # killed right after these too
SIDE = 24
LATER = {"dent": "crack"}


class Quiet:
    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        del name, total
        yield lambda _: None


def ignored(_sha: str, _kind: str) -> None:
    """Where nobody asks what was acknowledged."""


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def marked() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[3:7, 3:9] = True
    return mask


def adding(folder: Path, said: Callable[[str, str], None]) -> None:
    """Add, relabel, take labels, hold, release, reject, freeze."""
    with SampleStore.open(folder) as store:
        good = store.add(picture(1), "good", None, LabelSource("a")).sha
        said(good, "good")
        said(store.add(picture(2), "dent", marked(), LabelSource("b")).sha, "dent")
        said(store.add(picture(2), "crack", ~marked(), LabelSource("c")).sha, "crack")
        frame = ArchivedFrame("7-0", picture(3), {"captured_ns": 5})
        label = Label("7-0", LabelKind.DEFECT, "dent", mask=marked(), by="anna", at_ns=9)
        added = store.take_label("line", "1-0", label, frame)
        if added is not None:
            said(added.sha, "dent")
        store.take_label("line", "2-0", Label("8-0", LabelKind.NORMAL, at_ns=9), None)
        if store.named(good).place is SampleStatus.INCOMING:
            store.hold(good, ["odd"])
        if store.named(good).place is SampleStatus.QUARANTINE:
            store.keep(good)
        store.snapshot()


def importing(folder: Path, said: Callable[[str, str], None]) -> None:
    """Import a data folder; nothing is acknowledged before its end."""
    with SampleStore.open(folder) as store:
        store.import_dataset(find_samples(folder.parent / "data"), Quiet())
        for each in store.pictures():
            said(each.sha, each.kind)


def write_data(folder: Path) -> None:
    for part, seed in (("train/good", 1), ("train/good", 2), ("test/good", 3), ("test/dent", 4)):
        path = folder / part / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(seed))
    (folder / "ground_truth" / "dent").mkdir(parents=True)
    cv2.imwrite(str(folder / "ground_truth/dent/4_mask.png"), marked().astype(np.uint8) * 255)


def die_at(nth: int) -> None:
    count = 0

    def look(_frame: object, event: str, called: object) -> None:
        nonlocal count
        name = getattr(called, "__name__", "")
        if (event == "c_call" and name in WRITING) or (event == "c_return" and name in WROTE):
            count += 1
            if count == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)


def killed_at(nth: int, fill: Callable, folder: Path) -> tuple[bool, dict[str, str]]:
    """Fill in a child that dies at its n-th write; whether it died, and what it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said = os.fdopen(writer, "w", buffering=1)
        out = said.write
        die_at(nth)
        fill(folder, lambda sha, kind: out(f"{sha} {kind}\n"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        acknowledged = dict(line.split() for line in said.read().splitlines())
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), acknowledged


def all_of(folder: Path) -> dict[str, object]:
    """Everything that a store knows, and its files."""
    with SampleStore.look(folder) as store:
        pictures = {each.sha: str(each) for each in store.pictures()}
        said = {str(each) for sha in [*pictures, ""] for each in store.label_records(sha)}
        read = store.labels_read("line")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())
    return {"pictures": pictures, "said": sorted(said), "read": read, "files": files}


def faults(folder: Path, acknowledged: dict[str, str], fill: Callable, wanted: object) -> list[str]:
    found = []
    with SampleStore.open(folder) as store:
        if store.repaired.strange:
            found.append(f"strange: {store.repaired.strange}")
        kinds = {each.sha: each.kind for each in store.pictures()}
        if store.counts().missing:
            found.append("a row without its file")
        if len(kinds) != len(list(find_pictures(folder))):
            found.append("a file without its row")
    found += [
        f"{sha} was {kind}, is {kinds.get(sha)}"
        for sha, kind in acknowledged.items()
        # a later label may have been on its way
        if kinds.get(sha) is None
        or (kinds[sha] != kind and (kind, kinds[sha]) != ("dent", "crack"))
    ]
    fill(folder, ignored)
    if (now := all_of(folder)) != wanted:
        found.append(f"a repeat ends with {now}, wanted {wanted}")
    return found


def main(what: str, folder: Path) -> None:
    fill = {"adding": adding, "importing": importing}[what]
    write_data(folder / "data")
    whole, tried = folder / "samples", folder / "killed"
    fill(whole, ignored)
    whole.rename(folder / "whole")
    wanted, found, nth, died = all_of(folder / "whole"), {}, 0, True
    while died:
        nth += 1
        shutil.rmtree(tried, ignore_errors=True)
        died, acknowledged = killed_at(nth, fill, tried)
        if wrong := faults(tried, acknowledged, fill, wanted):
            found[nth] = wrong
    sys.stdout.write(json.dumps({"kills": nth - 1, "faults": found}))


main(sys.argv[1], Path(sys.argv[2]))
