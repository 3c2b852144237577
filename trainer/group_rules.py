"""Groups of pictures as a person names them: by a CSV file, or by a pattern on their paths."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trainer.dataset import GOOD, TEST_STEP, Dataset, Sample
from trainer.errors import DatasetError
from trainer.groups import group_key
from trainer.layouts.tree import compose

MAX_GROUPS_BYTES = 64 << 20
_HEADER = ("picture", "group")


@dataclass(frozen=True, slots=True)
class GroupRule:
    """How a person names groups: a file, a pattern, or not at all."""

    file: Path | None = None  # CSV: picture, group
    pattern: str | None = None  # regular expression on a picture's path in the data folder


def name_groups(dataset: Dataset, rule: GroupRule) -> Dataset:
    """Write the groups that a person named into the samples of a dataset.

    Raises:
        DatasetError: both a file and a pattern, an unreadable one, or one that names no picture.
    """
    return name_groups_of_all((dataset,), rule)[0]


def name_groups_of_all(datasets: Sequence[Dataset], rule: GroupRule) -> tuple[Dataset, ...]:
    """Write named groups into several datasets of one folder.

    In a file, the path of a picture may then begin with the name of its dataset.

    Raises:
        DatasetError: as `name_groups`; the rule must name a picture of one of them.
    """
    if rule.file is None and rule.pattern is None:
        return tuple(datasets)
    if rule.file is not None and rule.pattern is not None:
        raise DatasetError("--groups and --group-pattern name the same thing: give one of them")
    named = [_named(dataset, rule) for dataset in datasets]
    samples = [sample for dataset in datasets for sample in _samples(dataset)]
    if samples and not any(named):
        source = f"--groups {rule.file}" if rule.file else f"--group-pattern {rule.pattern}"
        names = " and ".join(dataset.name for dataset in datasets)
        raise DatasetError(
            f"{source} names none of the {len(samples)} pictures of {names}, which are called as "
            f"{samples[0].name}"
        )
    return tuple(_grouped(*each) for each in zip(datasets, named, strict=True))


def _samples(dataset: Dataset) -> tuple[Sample, ...]:
    return (*dataset.normals, *dataset.defects, *dataset.test)


def _named(dataset: Dataset, rule: GroupRule) -> Mapping[str, str]:
    if rule.file is not None:
        return _by_file(rule.file, dataset)
    return _by_pattern(rule.pattern or "", _samples(dataset))


def _grouped(dataset: Dataset, named: Mapping[str, str]) -> Dataset:
    normals, test, defects = (
        tuple(replace(sample, group=named.get(sample.name, sample.group)) for sample in part)
        for part in (dataset.normals, dataset.test, dataset.defects)
    )
    grouped = replace(dataset, normals=normals, test=test, defects=defects)
    return _chosen_by_groups(grouped) if dataset.test_chosen and named else grouped


def _chosen_by_groups(dataset: Dataset) -> Dataset:
    """Choose the test part again, of whole groups: every fifth, and all those with a defect."""
    good = [s for s in (*dataset.normals, *dataset.test) if s.kind == GOOD]
    good.sort(key=lambda sample: sample.name)
    bad = tuple(s for s in dataset.test if s.kind != GOOD)
    defective = {group_key(sample) for sample in bad}
    keys = [key for key in dict.fromkeys(map(group_key, good)) if key not in defective]
    tested = {*keys[TEST_STEP - 1 :: TEST_STEP], *defective}
    return replace(
        dataset,
        normals=tuple(sample for sample in good if group_key(sample) not in tested),
        test=(*(sample for sample in good if group_key(sample) in tested), *bad),
    )


def _by_file(path: Path, dataset: Dataset) -> Mapping[str, str]:
    """Read rows of picture and group; a picture is its path in the data folder or its file name."""
    try:
        if path.stat().st_size > MAX_GROUPS_BYTES:
            raise DatasetError(f"{path} is larger than {MAX_GROUPS_BYTES} bytes: no list of groups")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV (picture, group): {error}") from error
    if rows and tuple(cell.strip().lower() for cell in rows[0]) == _HEADER:
        rows = rows[1:]
    wanted: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(_HEADER) or not row[0].strip():
            raise DatasetError(
                f"{path}, row {number}: {','.join(row)!r:.80}, wanted is a picture and its group"
            )
        name, group = compose(row[0].strip().replace("\\", "/")), row[1].strip()
        if wanted.setdefault(name, group) != group:
            raise DatasetError(f"{path} puts {name} into two groups: {wanted[name]} and {group}")
    return _matched(wanted, dataset, path)


def _matched(wanted: Mapping[str, str], dataset: Dataset, path: Path) -> Mapping[str, str]:
    """Find the sample of each row; a file name that several samples share names none of them."""
    samples = _samples(dataset)
    short: dict[str, list[str]] = {}
    for sample in samples:
        short.setdefault(PurePosixPath(sample.name).name, []).append(sample.name)
    named: dict[str, str] = {}
    for sample in samples:
        name = PurePosixPath(sample.name).name
        whole = f"{dataset.name}/{sample.name}"
        if sample.name in wanted or whole in wanted:
            named[sample.name] = wanted.get(sample.name) or wanted[whole]
        elif name in wanted:
            if len(short[name]) > 1:
                raise DatasetError(
                    f"{path} names {name}, which is {' and '.join(short[name][:2])}: write the "
                    "path in the data folder"
                )
            named[sample.name] = wanted[name]
    return named


def _by_pattern(pattern: str, samples: Sequence[Sample]) -> Mapping[str, str]:
    """Name a group by what the pattern finds in a picture's path: its brackets, or all of it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"--group-pattern {pattern}: {error}: no regular expression") from error
    named: dict[str, str] = {}
    for sample in samples:
        found = compiled.search(sample.name)
        if found:
            parts = [part for part in found.groups() if part is not None]
            named[sample.name] = "/".join(parts) if compiled.groups else found.group(0)
    return named
