"""The files of one folder of pictures, and what became of each: nothing vanishes.

Names are compared in one normal form of Unicode (NFC): a file system or an archive may write the
letter "ä" in two ways, and a mask must be found whichever its picture has.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from engines.errors import PictureError
from engines.pictures.files import (
    FileAccount,
    account,
    is_mask_folder,
    is_picture,
    mask_owner,
    walk_files,
    why_not_picture,
)
from engines.pictures.masks import looks_like_mask
from trainer.dataset import Sample
from trainer.errors import DatasetError

_LOSSY = (".jpg", ".jpeg")
_STRAY_MASK = "a mask without a picture"
_STRAY_PICTURE = "a picture where this layout has none"


class FolderTree:
    """Folders and files below a folder, by relative names with slashes; "" is the folder itself."""

    def __init__(self, folder: Path) -> None:
        """List the files.

        Raises:
            DatasetError: no such folder, or too many files.
        """
        try:
            walked = walk_files(folder)
        except (OSError, PictureError) as error:
            where = getattr(error, "filename", None) or folder
            raise DatasetError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
        self.folder = folder
        self.name = folder.resolve().name
        self._real: dict[str, str] = {}  # names as the disk has them, where those differ
        raw = frozenset(walked.names)
        self._names = tuple(sorted(self._composed(name, raw) for name in walked.names))
        self._known = frozenset(self._names)
        self._ignored = walked.left_out
        self._files: dict[str, list[str]] = {}
        self._folders: dict[str, dict[str, None]] = {}
        for name in self._names:
            self._add(name)
        self._pictures: dict[str, list[str]] = {}  # by folder
        self._stems: dict[str, dict[str, list[str]]] = {}  # by folder: pictures by stem
        self._masks: set[str] = set()
        self._twins: dict[str, dict[str, str]] = {}  # by folder
        self._left: dict[str, str] = {}  # by name, the reason
        self.unreadable: list[str] = []  # a sentence for each picture of unknown label
        self.notes: list[str] = []  # what is wrong with pictures that are taken all the same

    def _composed(self, name: str, raw: frozenset[str]) -> str:
        """Return a name in NFC, and keep how the disk writes it and the folders that it is in."""
        composed = compose(name)
        if composed in raw:
            return name
        if self._real.setdefault(composed, name) != name:
            return name  # the same name in two forms: both are there
        for ours, theirs in zip(_folders_of(composed), _folders_of(name), strict=True):
            self._real.setdefault(ours, theirs)
        return composed

    def _add(self, name: str) -> None:
        inner, _, last = name.rpartition("/")
        self._files.setdefault(inner, []).append(last)
        while inner:
            above, _, folder = inner.rpartition("/")
            self._folders.setdefault(above, {})[folder] = None
            inner = above

    def path(self, name: str) -> Path:
        """Return the path of a file or folder."""
        return self.folder / self._real.get(name, name)

    def holds(self, name: str) -> bool:
        """Return whether there is such a file."""
        return name in self._known

    def names(self) -> tuple[str, ...]:
        """Return the names of all files."""
        return self._names

    def folders(self, inner: str) -> list[str]:
        """Return the names of the folders within a folder that hold any file."""
        return list(self._folders.get(inner, ()))

    def files(self, inner: str) -> list[str]:
        """Return the names of the files directly within a folder."""
        return self._files.get(inner, [])

    def pictures(self, inner: str) -> list[str]:
        """Return the pictures directly within a folder, masks beside their picture left out."""
        if inner not in self._pictures:
            self._pictures[inner] = self._list_pictures(inner)
        return list(self._pictures[inner])

    def pictures_of(self, inner: str, stem: str) -> list[str]:
        """Return the pictures of a stem directly within a folder."""
        if inner not in self._stems:
            self._stems[inner] = by_stem(self.pictures(inner))
        return self._stems[inner].get(stem, [])

    def _list_pictures(self, inner: str) -> list[str]:
        names = [name for name in self.files(inner) if is_picture(name)]
        stems = {name.rpartition(".")[0] for name in names}
        masks = set(self.twin_masks(inner).values())
        return [
            join(inner, name)
            for name in names
            if mask_owner(name.rpartition(".")[0]) not in stems and join(inner, name) not in masks
        ]

    def twin_masks(self, inner: str) -> dict[str, str]:
        """Return the masks NAME.png that lie beside a picture NAME.jpg, by the picture's name."""
        if inner not in self._twins:
            stems: dict[str, list[str]] = {}
            for name in self.files(inner):
                if is_picture(name):
                    stems.setdefault(name.rpartition(".")[0], []).append(join(inner, name))
            self._twins[inner] = {}
            for names in stems.values():
                pictures = [name for name in names if name.lower().endswith(_LOSSY)]
                others = [name for name in names if name not in pictures]
                if len(pictures) == len(others) == 1 and looks_like_mask(self.path(others[0])):
                    self._twins[inner][pictures[0]] = others[0]
        return self._twins[inner]

    def pictures_below(self, inner: str) -> list[str]:
        """Return the pictures within a folder and its subfolders, those for masks left out."""
        found = self.pictures(inner)
        for folder in self.folders(inner):
            if not is_mask_folder(folder) and not _is_depth(folder):
                found += self.pictures_below(join(inner, folder))
        return found

    def take_masks(self, names: Iterable[str]) -> None:
        """Note that files say where defects are, or that there is none."""
        self._masks.update(names)

    def leave_out(self, name: str, why: str, sentence: str = "") -> None:
        """Note why a file is not taken; a sentence where that makes its label unknown."""
        self._left[name] = why
        if sentence:
            self.unreadable.append(sentence)

    def note(self, sentence: str) -> None:
        """Note what is wrong with the label of a picture that is taken all the same."""
        self.notes.append(sentence)

    def files_account(self, samples: Iterable[Sample]) -> FileAccount:
        """Account for every file, of which `samples` are the pictures taken."""
        parts = {sample.name for sample in samples}
        left = {why: list(names) for why, names in self._ignored.items()}
        masks = self._masks - parts
        for name in self._names:
            if name not in parts and name not in masks:
                left.setdefault(self._left.get(name) or _why(name), []).append(name)
        return account(len(parts), len(masks), left)


def join(inner: str, name: str) -> str:
    """Join two relative names."""
    return f"{inner}/{name}" if inner else name


def compose(name: str) -> str:
    """Return a name in the normal form in which names are compared (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names by their stem."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(PurePosixPath(name).stem, []).append(name)
    return groups


def _folders_of(name: str) -> list[str]:
    """Return the folders that a name is in, from the outermost."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _is_depth(folder: str) -> bool:
    """Return whether a folder holds depth or points beside the pictures, as 3D cameras write."""
    return folder.casefold() in {"xyz", "depth", "z"}


def _why(name: str) -> str:
    if not is_picture(name):
        return why_not_picture(name)
    *folders, last = name.split("/")
    mask = mask_owner(last.rpartition(".")[0]) or any(map(is_mask_folder, folders))
    return _STRAY_MASK if mask else _STRAY_PICTURE
