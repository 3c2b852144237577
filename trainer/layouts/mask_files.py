"""Which mask files belong to a picture: apart in a folder of masks, or beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from engines.pictures.files import is_mask_folder, mask_owner
from trainer.layouts.tree import FolderTree, join

_NO_MASKS = frozenset({".txt", ".json", ".xml", ".csv", ".md", ".html", ".db", ".pdf", ".yaml"})


@dataclass(slots=True)
class _Masks:
    """The masks of one folder by the stem of their picture."""

    exact: dict[str, list[str]] = field(default_factory=dict)  # NAME.png
    suffixed: dict[str, list[str]] = field(default_factory=dict)  # NAME_mask.png, NAME_mask2.png


class MaskFiles:
    """Finds the masks of pictures."""

    def __init__(self, tree: FolderTree, roots: Sequence[str] = ()) -> None:
        """Take a tree and its folders of masks, in the order in which they are asked."""
        self._tree = tree
        self._roots = roots
        self._found: dict[str, _Masks] = {}

    def of(self, picture: str, part: str, kind: str) -> tuple[str, ...]:
        """Return the masks of a picture of a part and kind (folders; "" for none), sorted."""
        path = PurePosixPath(picture)
        for folder in self._folders(path, part, kind):
            masks = self._masks(folder)
            several = [
                join(f"{folder}/{path.stem}", name)
                for name in self._tree.files(join(folder, path.stem))
                if _may_be_mask(name)
            ]
            names = masks.suffixed.get(path.stem) or masks.exact.get(path.stem) or several
            if names:
                return tuple(sorted(names))
        return self.beside(picture)

    def beside(self, picture: str) -> tuple[str, ...]:
        """Return the masks that lie beside a picture NAME: NAME_mask (_GT, _label), or its twin."""
        path = PurePosixPath(picture)
        inner = "" if str(path.parent) == "." else str(path.parent)
        suffixed = self._masks(inner).suffixed.get(path.stem)
        twin = self._tree.twin_masks(inner).get(picture)
        return tuple(sorted(suffixed or ([twin] if twin else ())))

    def _folders(self, path: PurePosixPath, part: str, kind: str) -> Iterator[str]:
        parent = "" if str(path.parent) == "." else str(path.parent)
        for inner in self._tree.folders(parent):
            if is_mask_folder(inner):
                yield join(parent, inner)
        below = path.parent.relative_to(PurePosixPath(part, kind)).parts
        if below:  # KIND/rgb/NAME with KIND/gt/NAME
            above = str(path.parent.parent)
            yield from (
                f"{above}/{inner}" for inner in self._tree.folders(above) if is_mask_folder(inner)
            )
        for root in self._roots:
            for steps in ((part, kind, *below), (kind, *below), (part, kind), (kind,), ()):
                folder = self._descend(root, [step for step in steps if step])
                if folder is not None:
                    yield folder

    def _descend(self, root: str, steps: Sequence[str]) -> str | None:
        """Return the folder that `steps` lead to from `root`, whatever their case."""
        inner = root
        for step in steps:
            names = self._tree.folders(inner)
            match = step if step in names else _same(step, names)
            if match is None:
                return None
            inner = join(inner, match)
        return inner

    def _masks(self, folder: str) -> _Masks:
        if folder not in self._found:
            masks = _Masks()
            for name in self._tree.files(folder):
                stem, _, _ = name.rpartition(".")
                if not _may_be_mask(name):
                    continue
                masks.exact.setdefault(stem, []).append(join(folder, name))
                if owner := mask_owner(stem):
                    masks.suffixed.setdefault(owner, []).append(join(folder, name))
            self._found[folder] = masks
        return self._found[folder]


def _may_be_mask(name: str) -> bool:
    """Return whether a file is meant as pixels, if only in a format that is not read."""
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and f".{suffix.lower()}" not in _NO_MASKS


def _same(name: str, others: Sequence[str]) -> str | None:
    return next((other for other in others if other.casefold() == name.casefold()), None)
