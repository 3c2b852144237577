"""DAGM: Train/NAME and Train/Label/NAME_label, Test/ likewise; those with a label are defective.

Label/Labels.txt says the same a second time, in rows such as `0002 1 0002.PNG 1 0002_label.PNG`:
the second column is 1 for a defect. A picture of which it says the contrary is in no part.
"""

import re
from collections.abc import Iterator, Mapping

from engines.files import read_file
from trainer.dataset import GOOD, Dataset, Sample
from trainer.layouts.mask_files import MaskFiles
from trainer.layouts.names import DEFECT, is_test, is_training
from trainer.layouts.parts import mask_roots, parted
from trainer.layouts.tree import FolderTree, compose, join

_LIST_NAME = "labels.txt"
MAX_LIST_BYTES = 64 << 20
_ROW = re.compile(r"\S+\s+(?P<defective>[01])\s+(?P<picture>\S+\.\w+)(\s.*)?")
_CONTRARY = "of unknown label"
_SHOWN = 3


def read_dagm(tree: FolderTree) -> Dataset | None:
    """Read Train/ and Test/ with a folder of labels in each; None where there is none."""
    top = tree.folders("")
    if not any(mask_roots(tree, part) for part in top if is_training(part)):
        return None
    train = [s for part in top if is_training(part) for s in _part(tree, part)]
    test = [s for part in top if is_test(part) for s in _part(tree, part)]
    return parted(tree, train, test) if train else None


def _part(tree: FolderTree, part: str) -> Iterator[Sample]:
    """Yield the samples of a part, and note where its list of labels says something else."""
    files, listed = MaskFiles(tree), _listed(tree, part)
    names = tree.pictures(part)
    for name in names:
        masks = files.of(name, part, "")
        tree.take_masks(masks)
        said = listed.pop(name.rpartition("/")[2].casefold(), None)
        if said is not None and said != bool(masks):
            tree.leave_out(name, _CONTRARY, _contrary(tree, name, masks))
            continue
        first, more = masks[:1], masks[1:]
        yield Sample(
            name,
            tree.path(name),
            DEFECT if masks else GOOD,
            tree.path(first[0]) if first else None,
            more_masks=tuple(map(tree.path, more)),
        )
    if listed:
        tree.note(
            f"{tree.path(part)}: its list of labels names {len(listed)} pictures that are not "
            f"there ({_some(list(listed))}): is the folder complete?"
        )


def _contrary(tree: FolderTree, name: str, masks: tuple[str, ...]) -> str:
    if masks:
        return f"{tree.path(name)} has the label {masks[0]}, and its list of labels calls it good"
    return f"{tree.path(name)} has no label, and its list of labels calls it defective"


def _listed(tree: FolderTree, part: str) -> dict[str, bool]:
    """Read which pictures of a part are defective by its list of labels; empty without a list."""
    for root in mask_roots(tree, part):
        for file in tree.files(root):
            if file.casefold() == _LIST_NAME:
                return _rows(tree, join(root, file), part)
    return {}


def _rows(tree: FolderTree, name: str, part: str) -> dict[str, bool]:
    path = tree.path(name)
    try:
        text = read_file(path, MAX_LIST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        tree.note(f"{path} is not read: {error.strerror or error}")
        return {}
    tree.take_masks([name])
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    lines = [line for line in lines[lines[:1] == ["1"] :] if line]
    matches = [(line, _ROW.fullmatch(line)) for line in lines]
    strange = [line for line, match in matches if match is None]
    rows = {compose(m["picture"]).casefold(): m["defective"] == "1" for _, m in matches if m}
    if strange:
        tree.note(f"{path}: {len(strange)} lines are not understood, such as {strange[0]!r:.60}")
    _note_unlisted(tree, part, path.name, rows)
    return rows


def _note_unlisted(tree: FolderTree, part: str, file: str, rows: Mapping[str, bool]) -> None:
    names = [name.rpartition("/")[2] for name in tree.pictures(part)]
    unlisted = [name for name in names if name.casefold() not in rows]
    if rows and unlisted:
        tree.note(
            f"{tree.path(part)}: {len(unlisted)} pictures are not in {file} ({_some(unlisted)}): "
            "they count by whether they have a label"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
