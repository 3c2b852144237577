"""Pictures that belong together stay on one side, and count as one."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.conversion.conformal import conformal_threshold
from trainer.dataset import GOOD, Dataset, Pictures, Sample, content_sha, load_pictures
from trainer.errors import DatasetError
from trainer.export.calibrate import calibrate
from trainer.group_rules import GroupRule, name_groups
from trainer.groups import (
    PictureGroups,
    draw_groups,
    find_groups,
    fingerprints,
    join,
    natural_order,
)
from trainer.layouts import find_samples
from trainer.results.plant_figures import interval, promise_figures
from trainer.seen import apart_from, draw_seen, seen_record, unseen, write_seen
from trainer.training.validation import (
    split_normals,
    split_normals_by_content,
    split_seen,
    split_seen_by_content,
)

SIDE = 64


def part(seed: int) -> np.ndarray:
    """A part like no other: smooth light and dark."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def again(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same part photographed again: other noise, a little brighter."""
    noise = np.random.default_rng(seed).integers(-2, 3, pixels.shape)
    return np.clip(pixels.astype(int) + noise + 1, 0, 255).astype(np.uint8)


def loaded(shown: list[np.ndarray], groups: tuple[str, ...] = ()) -> Pictures:
    samples = tuple(
        Sample(f"train/good/{n:03}.png", Path(f"{n:03}.png"), GOOD, group=group)
        for n, group in enumerate(groups or ("",) * len(shown))
    )
    return Pictures(samples, np.stack(shown), (), tuple(content_sha(each) for each in shown))


def grouped(shown: list[np.ndarray], groups: tuple[str, ...] = ()) -> PictureGroups:
    pictures = loaded(shown, groups)
    return find_groups(pictures.samples, fingerprints(pictures.pixels), pictures.shas)


def folder(root: Path, names: list[str], first_seed: int = 0) -> Path:
    for seed, name in enumerate(names, start=first_seed):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), part(seed))
    return root


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Six parts from three sides each; the last two parts have a dent and are tested."""
    names = [f"train/good/p{n}_{side}.png" for n in range(4) for side in "abc"]
    names += [f"test/good/p{n}_{side}.png" for n in (3, 4, 5) for side in "de"]
    names += [f"test/dent/p{n}_a.png" for n in (4, 5)]
    root = folder(tmp_path / "parts", names)
    for n in (4, 5):
        mask = root / "ground_truth" / "dent" / f"p{n}_a_mask.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        marked = np.zeros((SIDE, SIDE), np.uint8)
        marked[8:20, 8:20] = 255
        cv2.imwrite(str(mask), marked)
    return root


def groups_of(dataset: Dataset) -> dict[str, str]:
    every = (*dataset.normals, *dataset.defects, *dataset.test)
    return {sample.name: sample.group for sample in every}


def test_pattern_names_groups_by_its_brackets(parts: Path) -> None:
    dataset = name_groups(find_samples(parts), GroupRule(pattern=r"(p\d)_"))
    named = groups_of(dataset)
    assert named["train/good/p0_a.png"] == named["train/good/p0_c.png"] == "p0"
    assert named["test/dent/p4_a.png"] == named["test/good/p4_d.png"] == "p4"


def test_file_names_groups_by_path_or_file_name(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("picture,group\ntrain/good/p0_a.png,lot 1\np0_b.png,lot 1\n", "utf-8")
    named = groups_of(name_groups(find_samples(parts), GroupRule(file=file)))
    assert named["train/good/p0_a.png"] == named["train/good/p0_b.png"] == "lot 1"
    assert named["train/good/p0_c.png"] == ""


@pytest.mark.parametrize(
    ("content", "pattern", "words"),
    [
        ("a.png,1\n", None, "names none of the 20 pictures"),
        ("p0_a.png\n", None, "row 1: 'p0_a.png', wanted is a picture and its group"),
        ("p0_a.png,1\np0_a.png,2\n", None, "into two groups: 1 and 2"),
        ("p4_a.png,1\np3_a.png,2\n\xe9", None, "cannot be read as CSV"),
        (None, "(", "no regular expression"),
        (None, r"kos\d+", "names none of the 20 pictures"),
        ("p0_a.png,1\n", "p", "give one of them"),
    ],
)
def test_groups_that_name_nothing_are_refused(
    parts: Path, tmp_path: Path, content: str | None, pattern: str | None, words: str
) -> None:
    file = tmp_path / "groups.csv"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    rule = GroupRule(file if content is not None else None, pattern)
    with pytest.raises(DatasetError, match=words):
        name_groups(find_samples(parts), rule)


def test_copies_and_near_copies_are_found_without_being_told() -> None:
    first, second, third = part(0), part(1), part(2)
    shown = [first, second, first, again(first, 9), third, again(second, 8)]
    found = grouped(shown)
    keys = found.keys
    assert keys[0] == keys[2] == keys[3]
    assert keys[1] == keys[5]
    assert (found.count, found.copies) == (3, 3)
    assert found.note == "3 of 6 pictures are near-copies of others: a part counts once"
    assert grouped([part(seed) for seed in range(40)]).count == 40


def test_named_groups_and_copies_are_joined() -> None:
    shown = [part(0), part(1), again(part(1), 7), part(3)]
    keys = grouped(shown, ("x", "x", "y", "")).keys
    assert keys[0] == keys[1] == keys[2]
    assert keys[3] != keys[0]
    assert join(["a", "b", "a", "c"], np.array([[2, 3]])) == ("a", "b", "a", "a")


def test_copies_of_a_single_picture_are_refused() -> None:
    with pytest.raises(DatasetError, match="all 12 pictures of normal parts are copies of one"):
        grouped([part(0)] * 12)


def test_parts_that_all_look_alike_are_parts_and_the_promise_is_called_optimistic() -> None:
    shown = [again(part(0), seed) for seed in range(12)]
    found = grouped([*shown, shown[0]])
    assert found.count == 12
    assert "optimistic" in found.note


def test_series_by_name_is_noticed_and_independent_parts_are_not() -> None:
    drift = [part(seed).astype(float) for seed in range(4)]
    steps = np.linspace(0, 3, 60)
    series = [
        (drift[min(int(at), 2)] * (1 - at % 1) + drift[min(int(at), 2) + 1] * (at % 1))
        for at in steps[:-1]
    ]
    shown = [again(each.astype(np.uint8), n) for n, each in enumerate(series)]
    assert "follow one another by name" in grouped(shown).note
    assert grouped(shown, tuple(f"{n // 10}" for n in range(59))).note == ""
    assert grouped([part(seed) for seed in range(60)]).note == ""
    assert sorted(["p10", "p9", "p1"], key=natural_order) == ["p1", "p9", "p10"]


def together(keys: list[str], held: np.ndarray) -> bool:
    """Return whether no group is on both sides."""
    sides: dict[str, set[bool]] = {}
    for key, side in zip(keys, held, strict=True):
        sides.setdefault(key, set()).add(bool(side))
    return all(len(each) == 1 for each in sides.values())


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_learned_and_held_out(seed: int) -> None:
    keys = [f"g{n // 4}" for n in range(120)]
    held = draw_groups(keys, 0.2, seed)
    assert together(keys, held)
    assert held.sum() == 24
    assert np.array_equal(held, draw_groups(keys, 0.2, seed))
    for division in (split_normals(keys, seed), split_seen(keys, seed)):
        assert together(keys, np.isin(np.arange(120), division.held))
        assert len(division.held) > 0


@pytest.mark.parametrize("keys", [["a"], ["a"] * 9])
def test_a_single_group_cannot_be_split(keys: list[str]) -> None:
    with pytest.raises(DatasetError, match="at least 2 parts"):
        draw_groups(keys, 0.3, 7)


def test_normals_of_a_learned_defects_group_are_learned_too() -> None:
    normals, defects = [f"g{n % 10}" for n in range(50)], [f"g{n % 5}" for n in range(25)]
    seen = split_seen(defects, 1, set(normals))
    assert not len(seen.held)
    kept = {defects[place] for place in seen.learned}
    held = {normals[place] for place in split_normals(normals, 1, kept).held}
    assert held
    assert not held & kept
    shas = [content_sha(part(n)) for n in range(50)]
    by_content = split_normals_by_content(shas, normals, kept)
    assert not {normals[place] for place in by_content.held} & kept
    assert not len(split_seen_by_content(shas[:25], defects, set(normals)).held)
    with pytest.raises(DatasetError, match="seen defects are of every group"):
        split_normals_by_content(shas, normals, set(normals))


def test_another_copy_never_moves_a_learned_picture_to_the_held_out() -> None:
    shas = [content_sha(part(n)) for n in range(200)]
    before = split_normals_by_content(shas[:100])
    keys = [*shas[:100], *shas[:100]]  # each of the later ones copies an earlier one
    after = split_normals_by_content(shas, keys)
    assert set(before.learned) <= set(after.learned)
    assert together(keys, np.isin(np.arange(200), after.held))


def test_named_groups_are_held_out_by_name_whatever_pictures_come() -> None:
    shas = [content_sha(part(n)) for n in range(200)]
    keys = [f"group {n % 40}" for n in range(200)]
    few, many = split_normals_by_content(shas[:80], keys[:80]), split_normals_by_content(shas, keys)
    held_few, held_many = ({keys[n] for n in each.held} for each in (few, many))
    assert held_few == held_many
    assert held_many


def test_pictures_of_a_group_count_as_one_for_the_promise() -> None:
    scores = np.repeat(np.arange(24.0), 4)
    keys = [f"g{n // 4}" for n in range(96)]
    assert conformal_threshold(scores, 0.01, keys) == (23.0, 1 / 25)
    assert conformal_threshold(scores, 0.01)[1] == pytest.approx(1 / 97)
    single = np.random.default_rng(1).normal(size=200)
    alone = [str(n) for n in range(200)]
    for rate in (0.01, 0.05, 0.1, 0.5):
        assert conformal_threshold(single, rate, alone) == conformal_threshold(single, rate)
        copies = conformal_threshold(np.repeat(single, 3), rate, np.repeat(alone, 3).tolist())
        assert copies == conformal_threshold(single, rate)


def test_promise_by_groups_holds_for_pictures_of_further_groups() -> None:
    rng = np.random.default_rng(3)
    above, plain = [], []
    for _ in range(400):
        sizes = rng.integers(1, 8, 40)
        scores = np.concatenate([rng.normal() + 0.1 * rng.normal(size=size) for size in sizes])
        keys = np.repeat(np.arange(40).astype(str), sizes).tolist()
        further = rng.normal(size=50) + 0.1 * rng.normal(size=50)
        above.append((further > conformal_threshold(scores, 0.1, keys)[0]).mean())
        plain.append((further > conformal_threshold(scores, 0.01)[0]).mean())
    assert np.mean(above) <= 0.1 + 0.015  # four standard errors of 400 draws
    assert np.mean(plain) > 0.015  # counted singly, the promise of 1 % is broken by half


def test_calibration_says_how_many_groups_it_rests_on() -> None:
    maps = np.random.default_rng(1).random((24, 4, 4), dtype=np.float32)
    keys = [f"g{n // 4}" for n in range(24)]
    found = calibrate(maps.max(axis=(1, 2)), maps, 0.01, groups=keys)
    assert found.false_reject_rate == pytest.approx(1 / 7)
    assert "24 held-out normals in 6 groups, which supports 14.29% false rejects" in found.method
    assert "needs 99 held-out groups" in found.method


def test_seen_defect_takes_its_group_out_of_the_test(parts: Path) -> None:
    dataset = name_groups(find_samples(parts), GroupRule(pattern=r"(p\d)_"))
    seen, rest = draw_seen(dataset, 1, 1)
    assert seen[0].group not in {sample.group for sample in rest.test}
    assert len(rest.test) == 8 - 3


def test_engine_is_not_judged_by_pictures_of_groups_or_copies_that_it_learned(parts: Path) -> None:
    copy = again(cv2.imread(str(parts / "train" / "good" / "p1_a.png")), 4)
    cv2.imwrite(str(parts / "test" / "good" / "other.png"), copy)
    dataset = name_groups(find_samples(parts), GroupRule(pattern=r"(p\d)_"))
    shas = load_pictures(dataset.normals, (SIDE, SIDE)).shas
    write_seen(parts / "run", seen_record("parts", 1, (), (), shas))
    rest = unseen(dataset, [parts / "run" / "protoad.onnx"])
    gone = {sample.name for sample in dataset.test} - {sample.name for sample in rest.test}
    assert gone == {"test/good/other.png", "test/good/p3_d.png", "test/good/p3_e.png"}


def test_parts_in_one_jig_are_not_all_taken_for_copies_of_learned_ones(tmp_path: Path) -> None:
    first = part(0)
    for number in range(12):
        inner = "train" if number < 8 else "test"
        path = tmp_path / inner / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), again(first, number))
    cv2.imwrite(str(tmp_path / "test" / "good" / "exact.png"), again(first, 3))
    dataset = find_samples(tmp_path)
    shas = load_pictures(dataset.normals, (SIDE, SIDE)).shas
    write_seen(tmp_path / "run", seen_record("jig", 1, (), (), shas))
    rest = unseen(dataset, [tmp_path / "run" / "protoad.onnx"])
    assert {sample.path.stem for sample in rest.test} == {"8", "9", "10", "11"}
    apart = apart_from(dataset, dataset.normals)
    assert apart.test == rest.test


def test_promise_stands_beside_one_picture_of_each_group() -> None:
    rejected = np.repeat([True, False, False, False], 5)
    keys = np.repeat(list("abcd"), 5).tolist()
    found = promise_figures(0.25, "so", rejected, keys)
    assert found is not None
    assert (found.rejected, found.groups, found.holds) == (1, 4, True)
    assert (found.at_least, found.at_most) == interval(1, 4)
    assert interval(10, 18) == pytest.approx((0.308, 0.785), abs=1e-3)  # by tables
    broken = promise_figures(0.0526, "so", np.arange(18) < 10, [str(n) for n in range(18)])
    assert broken is not None
    assert not broken.holds
    assert promise_figures(0.1, "so", np.zeros(0, np.bool_), []) is None
