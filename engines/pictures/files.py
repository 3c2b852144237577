"""List the files of a picture folder: pictures, masks, and files that are left out.

Every command lists folders here, so that all see the same files. No file vanishes: each file that
is left out is counted under a reason.
"""

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.read import PICTURE_SUFFIXES

MAX_FILES = 2_000_000
FOREIGN = "hidden or another program's"
MASK = "mask or truth, not a part"
_FOREIGN_NAMES = frozenset(
    {
        "@eadir", "__macosx", "__pycache__", "#recycle", "$recycle.bin", "lost+found",
        "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    }
)  # fmt: skip
_OTHER_PICTURES = frozenset(
    {
        ".webp", ".gif", ".jp2", ".j2k", ".jpe", ".jfif", ".jxl", ".avif", ".heic", ".heif",
        ".pgm", ".ppm", ".pnm", ".tga", ".exr", ".hdr", ".dcm", ".raw", ".dng", ".nef", ".cr2",
        ".npy", ".npz", ".mat", ".svg", ".pcx", ".ico",
    }
)  # fmt: skip
_MASK_FOLDERS = frozenset(
    {"groundtruth", "groundtruths", "gt", "gts", "mask", "masks", "label", "labels", "truth"}
)
_NOUNS = ("images", "image", "imgs", "img", "pictures", "photos", "samples", "parts")
_MASK_STEM = re.compile(
    r"(?P<owner>.+?)[_-](?:mask|gt|label|seg|truth)(?:[_-]?\d+)?", re.IGNORECASE
)
_SHOWN_FOLDERS = 3


def letters(name: str) -> str:
    """Return the letters and digits of a name in lower case, to compare spellings."""
    composed = unicodedata.normalize("NFC", name).casefold()
    return "".join(character for character in composed if character.isalnum())


def why_odd_name(name: str) -> str:
    """Return why this file or folder name cannot be written into reports, or ""."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "a name that is not UTF-8: rename it"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "a name with control characters: rename it"
    return ""


def printable(name: str) -> str:
    """Return a name without unprintable characters."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join("\ufffd" if unicodedata.category(each) == "Cc" else each for each in text)


def is_foreign(name: str) -> bool:
    """Return whether a file or folder with this name is hidden or belongs to another program."""
    return name.startswith((".", "~$")) or name.casefold() in _FOREIGN_NAMES


def without_noun(plain: str) -> str:
    """Return the letters of a name without a trailing word for pictures."""
    for noun in _NOUNS:
        if plain.endswith(noun) and plain != noun:
            return plain.removesuffix(noun)
    return plain


def is_mask_folder(name: str) -> bool:
    """Return whether a folder of this name holds masks."""
    return without_noun(letters(name)) in _MASK_FOLDERS


def mask_owner(stem: str) -> str:
    """Return the stem of the picture that a mask belongs to, by the mask's stem, or ""."""
    match = _MASK_STEM.fullmatch(stem)
    return match["owner"] if match else ""


def is_picture(name: str) -> bool:
    """Return whether a file of this name is read as a picture."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def why_not_picture(name: str) -> str:
    """Return why a file of this name is not read as a picture."""
    suffix = Path(name).suffix.lower()
    if suffix in _OTHER_PICTURES:
        return f"{suffix} is not read: convert to PNG"
    return f"not a picture ({suffix or 'no suffix'})"


@dataclass(frozen=True, slots=True)
class FileAccount:
    """The account of every file of a folder."""

    pictures: int = 0
    masks: int = 0  # files that say where the defects are
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by reason, names

    def line(self) -> str:
        """Return one line: numbers, reasons and the folders concerned."""
        taken = f"{self.pictures} pictures" + (f" and {self.masks} masks" if self.masks else "")
        if not self.left_out:
            return f"{taken} taken, no file left out"
        count = sum(map(len, self.left_out.values()))
        reasons = "; ".join(_reason(why, names) for why, names in sorted(self.left_out.items()))
        return f"{taken} taken, {count} file{'s' * (count > 1)} left out: {reasons}"

    def as_json(self) -> dict[str, object]:
        """Return the full account, each file by name."""
        left = {why: list(names) for why, names in self.left_out.items()}
        return {"pictures": self.pictures, "masks": self.masks, "left_out": left}


NO_FILES = FileAccount()


def _reason(why: str, names: tuple[str, ...]) -> str:
    folders = Counter(name.rpartition("/")[0] or "." for name in names)
    shown = ", ".join(sorted(folders)[:_SHOWN_FOLDERS])
    more = f" and {len(folders) - _SHOWN_FOLDERS} folders more" if len(folders) > 3 else ""  # noqa: PLR2004
    return f"{len(names)} {why}, in {shown}{more}"


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """All files below a folder: relative names with slashes, sorted."""

    folder: Path
    names: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]  # names by reason


def walk_files(folder: Path) -> FolderFiles:
    """List the files below a folder; links are followed, each folder once.

    Raises:
        PictureError: more than `MAX_FILES`.
        OSError: no such folder, or not readable.
    """
    names: list[str] = []
    left: dict[str, list[str]] = {}
    seen: set[tuple[int, int]] = set()
    for where, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        inner = Path(where).relative_to(folder).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        status = os.stat(where)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        reasons = {name: FOREIGN if is_foreign(name) else why_odd_name(name) for name in folders}
        folders[:] = sorted(name for name in folders if not reasons[name])
        for name, why in reasons.items():
            if why:
                below = _below(Path(where) / name, prefix + printable(name))
                left.setdefault(why, []).extend(below)
        for name in files:
            why = FOREIGN if is_foreign(name) else why_odd_name(name)
            why = why or _why_no_file(Path(where) / name)
            if why:
                left.setdefault(why, []).append(prefix + printable(name))
            else:
                names.append(prefix + name)
        if len(names) > MAX_FILES:
            raise PictureError(f"{folder} holds more than {MAX_FILES:,} files: name a part of it")
    return FolderFiles(
        folder, tuple(sorted(names)), {why: tuple(sorted(each)) for why, each in left.items()}
    )


def _raise(error: OSError) -> None:
    raise error


def _below(folder: Path, prefix: str) -> list[str]:
    """Return the names of files in an ignored folder; links out of it are not followed."""
    return [
        f"{prefix}/{printable((Path(where) / name).relative_to(folder).as_posix())}"
        for where, _, files in os.walk(folder)
        for name in files
    ]


def _why_no_file(path: Path) -> str:
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError:
        return "a link to nothing"


def list_parts(folder: Path) -> tuple[list[Path], FileAccount]:
    """List the pictures of parts in and below a folder, and account for all its other files.

    Masks are left out: files in folders of masks, and NAME_mask beside NAME.
    """
    walked = walk_files(folder)
    left = {why: list(names) for why, names in walked.left_out.items()}
    stems = {name.rpartition(".")[0] for name in walked.names if is_picture(name)}
    parts = []
    for name in walked.names:
        if why := _why_no_part(name, stems):
            left.setdefault(why, []).append(name)
        else:
            parts.append(folder / name)
    return parts, account(len(parts), 0, left)


def _why_no_part(name: str, stems: set[str]) -> str:
    if not is_picture(name):
        return why_not_picture(name)
    *folders, last = name.split("/")
    owner = mask_owner(last.rpartition(".")[0])
    beside = bool(owner) and "/".join([*folders, owner]) in stems
    return MASK if beside or any(map(is_mask_folder, folders)) else ""


def account(pictures: int, masks: int, left_out: Mapping[str, Iterable[str]]) -> FileAccount:
    """Build the account."""
    return FileAccount(
        pictures, masks, {why: tuple(sorted(names)) for why, names in left_out.items() if names}
    )
