"""Program: the promised rate of false rejects beside the measured one, for three ways to hold out.

`python promised_rate.py [--seeds N] FOLDER[=PATTERN]...` trains ProtoAD on each data folder with
its held-out normal pictures drawn by picture, by groups that are named (PATTERN finds the group in
a picture's path), and by groups that are found (near-copies), and judges its good test pictures.
It prints a table in Markdown. Intervals are exact (Clopper and Pearson), of all pictures and of one
picture of each group. The last columns say whether the test part itself differs from training: the
median difference of a fingerprint to the nearest one of another group, in grey levels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from trainer.dataset import GOOD, Dataset, Pictures, load_pictures
from trainer.group_rules import GroupRule, name_groups
from trainer.groups import (
    PictureGroups,
    draw_groups,
    find_groups,
    fingerprints,
    group_key,
)
from trainer.layouts import find_samples
from trainer.networks.backbones import load_backbone
from trainer.progress import TerminalSteps
from trainer.results.plant_figures import interval, promise_figures
from trainer.training.protoad import (
    NormalParts,
    ProtoAdRecipe,
    calibrate_protoad,
    judge_pictures,
    learn_protoad,
    set_determinism,
)

SIZE = (256, 256)
HELD_OUT_SHARE = 0.2
RATE = 0.01
HEAD = (
    "| set, seed | held out | held-out pictures, groups | promised | measured | 95 % interval | "
    "one of each group | 95 % interval | holds | nearest in training | test to training |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    backbone = load_backbone("efficientnet_lite0", None)
    print(HEAD)  # noqa: T201
    for folder in given.folders:
        path, _, pattern = folder.partition("=")
        dataset = name_groups(find_samples(Path(path)), GroupRule(pattern=pattern or None))
        pictures = load_pictures(dataset.normals, SIZE)
        good = load_pictures([each for each in dataset.test if each.kind == GOOD], SIZE)
        for seed in range(1, given.seeds + 1):
            rows: dict[bytes, str] = {}  # by what is held out: no training is done twice
            for way, groups in ways(dataset, pictures).items():
                set_determinism(seed)
                recipe = ProtoAdRecipe(SIZE, seed, RATE, HELD_OUT_SHARE, len(pictures.samples))
                held = draw_groups(groups.keys, HELD_OUT_SHARE, seed)
                if (found := rows.get(held.tobytes())) is not None:
                    print(f"| {dataset.name}, {seed} | {way} {found}")  # noqa: T201
                    continue
                parts = NormalParts(pictures, np.flatnonzero(~held), np.flatnonzero(held), groups)
                with TerminalSteps(Console(stderr=True)) as steps:
                    network = learn_protoad(parts, backbone, recipe, steps)
                    learned = calibrate_protoad(network, parts, recipe, steps)
                scores, _ = judge_pictures(network, good.pixels)
                above = scores > learned.thresholds.image
                sides = (groups, held, learned.thresholds.false_reject_rate or 0)
                rows[held.tobytes()] = row(sides, above, pictures, good)
                print(f"| {dataset.name}, {seed} | {way} {rows[held.tobytes()]}", flush=True)  # noqa: T201


def ways(dataset: Dataset, pictures: Pictures) -> dict[str, PictureGroups]:
    """Return the groups of each way to hold out."""
    prints = fingerprints(pictures.pixels)
    bare = [type(each)(each.name, each.path, each.kind) for each in pictures.samples]
    found = {
        "by picture": PictureGroups(tuple(each.name for each in bare), 0),
        "found groups": find_groups(bare, prints, pictures.shas),
    }
    if any(each.group for each in dataset.normals):
        found["named groups"] = find_groups(pictures.samples, prints, pictures.shas)
    return found


def row(
    sides: tuple[PictureGroups, np.ndarray, float],
    above: np.ndarray,
    pictures: Pictures,
    good: Pictures,
) -> str:
    """Lay out what was promised and measured."""
    groups, held, promised = sides
    names = [group_key(each) for each in good.samples]
    drawn = promise_figures(promised, "", above, names)
    assert drawn is not None  # there are good test pictures
    low, high = interval(int(above.sum()), len(above))
    held_groups = {key for key, is_held in zip(groups.keys, held, strict=True) if is_held}
    own = [group_key(each) for each in pictures.samples]
    trained, tested = fingerprints(pictures.pixels), fingerprints(good.pixels)
    cells = (
        f"{held.sum()}, {len(held_groups)}",
        f"{promised:.1%}",
        f"{above.sum()} of {len(above)} ({above.mean():.1%})",
        f"{low:.1%} to {high:.1%}",
        f"{drawn.rejected} of {drawn.groups}",
        f"{drawn.at_least:.1%} to {drawn.at_most:.1%}",
        "yes" if drawn.holds else "NO",
        f"{nearest(trained, trained, own, own):.1f}",
        f"{nearest(tested, trained, names, own):.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def nearest(
    ones: np.ndarray, others: np.ndarray, keys: Sequence[str], other_keys: Sequence[str]
) -> float:
    """Return the median difference to the nearest fingerprint of another group, grey levels."""
    rows, keys_of_others = others.astype(np.float32), np.array(other_keys)
    found = []
    for one, key in zip(ones.astype(np.float32), keys, strict=True):
        apart = rows[keys_of_others != key]
        found.append(np.abs(apart - one).mean(axis=1).min())
    return float(np.median(found))


if __name__ == "__main__":
    main()
