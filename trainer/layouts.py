"""Folders of labelled pictures -> samples, in the layouts in which pictures are kept and published.

A layout is known by its form, never by a folder's name:

    plain    normal/, and where there are defects abnormal/ and mask/ (NAME or NAME_mask)
    MVTec    train/good/, test/good/, test/KIND/, ground_truth/KIND/NAME_mask; where defects to
             learn from are known, train/KIND/, as a sample store exports them
    BTAD     train/ok/, test/ok/, test/ko/, ground_truth/ko/NAME
    KSDD2    train/NAME and train/NAME_GT, test/ likewise (KolektorSDD2)
    DAGM     Train/NAME and Train/Label/NAME_label, Test/ likewise (DAGM 2007)

Suffixes may differ between a picture and its mask. The last two always have defects in their
training part too. A plain folder has no test pictures of normal parts: with an `abnormal` folder,
every fifth normal picture by name is kept from training and tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engines.errors import PictureError
from engines.pictures import PICTURE_SUFFIXES, read_mask
from trainer.dataset import GOOD, Dataset, Sample
from trainer.errors import DatasetError

DEFECT = "defect"  # the kind where a layout tells no kinds apart
_PLAIN_TEST_STEP = 5
_TRUTH = "_GT"
_FORMS = (
    "train/good (MVTec), train/ok (BTAD), train/NAME_GT.png (KolektorSDD2), Train/Label (DAGM) "
    "nor normal (normal, abnormal, mask)"
)


def find_samples(folder: Path) -> Dataset:
    """Find the pictures of a folder in any of the layouts.

    Raises:
        DatasetError: none of the layouts, several categories, or no normal pictures.
    """
    dataset = _read(folder)
    if dataset is None:
        raise DatasetError(_unknown(folder))
    if not dataset.normals:
        raise DatasetError(f"{folder} holds no pictures of normal parts to learn from")
    return dataset


def find_datasets(folder: Path) -> tuple[Dataset, ...]:
    """Find one dataset, or, in a folder of several, all of them by name.

    Raises:
        DatasetError: none, or one without normal pictures.
    """
    if _read(folder) is not None:
        return (find_samples(folder),)
    categories = _categories(folder)
    if not categories:
        raise DatasetError(_unknown(folder))
    return tuple(find_samples(each) for each in categories)


def _categories(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*")) if path.is_dir() and _read(path)]


def _read(folder: Path) -> Dataset | None:
    name = folder.resolve().name
    if (folder / "train" / GOOD).is_dir():
        return _mvtec(folder, name)
    if (folder / "train" / "ok").is_dir():
        return Dataset(name, _listed(folder, "train/ok", GOOD), _btad_test(folder))
    if any(_pictures(folder / "Train" / "Label")):
        return _parted(name, [*_dagm(folder, "Train")], [*_dagm(folder, "Test")])
    if any(path.stem.endswith(_TRUTH) for path in _pictures(folder / "train")):
        return _ksdd2(folder, name)
    return _plain(folder, name) if (folder / "normal").is_dir() else None


def _unknown(folder: Path) -> str:
    """Say what was looked for, and where categories lie that could have been meant."""
    categories = _categories(folder)
    if categories:
        named = ", ".join(path.name for path in categories[:20])
        return f"{folder} holds {len(categories)} categories, give the folder of one: {named}"
    return (
        f"{folder} holds neither {_FORMS}: put the pictures of good parts into train/good or normal"
    )


def _pictures(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]


def _listed(
    folder: Path, inner: str, kind: str, masks: dict[str, Path] | None = None
) -> tuple[Sample, ...]:
    return tuple(
        Sample(f"{inner}/{path.name}", path, kind, _mask_of(path, masks or {}))
        for path in _pictures(folder / inner)
    )


def _mask_of(path: Path, masks: dict[str, Path]) -> Path | None:
    return masks.get(f"{path.stem}_mask") or masks.get(path.stem)


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in _pictures(folder)}


def _truths(folder: Path, kind: str) -> dict[str, Path]:
    return _by_stem(folder / "ground_truth" / kind)


def _mvtec(folder: Path, name: str) -> Dataset:
    dataset = _parted(name, _mvtec_part(folder, "train"), _mvtec_part(folder, "test"))
    learned = {sample.mask: sample.name for sample in dataset.defects if sample.mask}
    for sample in dataset.test:
        if sample.mask in learned:
            raise DatasetError(
                f"{learned[sample.mask]} and {sample.name} of {folder} share the mask "
                f"{sample.mask.name}: rename one of them, and its mask"
            )
    return dataset


def _mvtec_part(folder: Path, part: str) -> tuple[Sample, ...]:
    kinds = sorted(path.name for path in (folder / part).glob("*") if path.is_dir())
    return tuple(
        sample
        for kind in kinds
        for sample in _listed(folder, f"{part}/{kind}", kind, _truths(folder, kind))
    )


def _btad_test(folder: Path) -> tuple[Sample, ...]:
    masks = _truths(folder, "ko")
    return _listed(folder, "test/ok", GOOD) + _listed(folder, "test/ko", DEFECT, masks)


def _plain(folder: Path, name: str) -> Dataset:
    normals = _listed(folder, "normal", GOOD)
    defects = _listed(folder, "abnormal", "abnormal", _by_stem(folder / "mask"))
    if not defects:
        return Dataset(name, normals, ())
    tested = normals[_PLAIN_TEST_STEP - 1 :: _PLAIN_TEST_STEP]
    learned = tuple(sample for sample in normals if sample not in tested)
    return Dataset(name, learned, tested + defects)


def _dagm(folder: Path, part: str) -> Iterator[Sample]:
    """Pictures of one part; those with a mask are the defective ones."""
    masks = _by_stem(folder / part / "Label")
    for path in _pictures(folder / part):
        mask = masks.get(f"{path.stem}_label")
        yield Sample(f"{part}/{path.name}", path, DEFECT if mask else GOOD, mask)


def _ksdd2(folder: Path, name: str) -> Dataset:
    train, test = list(_ksdd2_part(folder, "train")), list(_ksdd2_part(folder, "test"))
    unreadable = tuple(each for each in train + test if isinstance(each, str))
    return replace(_parted(name, _samples(train), _samples(test)), unreadable=unreadable)


def _ksdd2_part(folder: Path, part: str) -> Iterator[Sample | str]:
    """Pictures of one part, or a sentence for one of unknown label: an empty mask says good."""
    found = _by_stem(folder / part)
    for stem, path in found.items():
        if stem.endswith(_TRUTH):
            continue
        if (mask := found.get(stem + _TRUTH)) is None:
            yield f"{path}: no {stem}{_TRUTH}.png beside it says whether the part is good"
            continue
        try:
            defective = bool(read_mask(mask).any())
        except PictureError as error:
            yield str(error)
            continue
        inner = f"{part}/{path.name}"
        yield Sample(inner, path, DEFECT, mask) if defective else Sample(inner, path, GOOD)


def _samples(found: Sequence[Sample | str]) -> list[Sample]:
    return [each for each in found if isinstance(each, Sample)]


def _parted(name: str, train: Sequence[Sample], test: Sequence[Sample]) -> Dataset:
    """Make a dataset of a training part that holds defects too."""
    return Dataset(
        name,
        tuple(sample for sample in train if sample.kind == GOOD),
        tuple(sorted(test, key=lambda sample: sample.kind != GOOD)),
        tuple(sample for sample in train if sample.kind != GOOD),
    )
