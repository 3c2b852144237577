import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.dataset import GOOD, Dataset, Sample, load_pictures
from trainer.errors import DatasetError
from trainer.layouts import find_samples
from trainer.seen import (
    SEEN_NAME,
    _in_turns,
    draw_seen,
    join_seen,
    load_seen,
    read_seen,
    recognise,
    seen_record,
    unseen,
    without,
    write_seen,
)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Good parts, 6 dents, 3 cracks and 1 stain, all with masks."""
    plain = np.full((20, 30, 3), 90, np.uint8)
    marked = np.zeros((20, 30), np.uint8)
    marked[5:9, 5:12] = 255
    write(tmp_path / "train" / "good" / "0.png", plain)
    write(tmp_path / "test" / "good" / "0.png", plain)
    for kind, count in (("dent", 6), ("crack", 3), ("stain", 1)):
        for number in range(count):
            write(tmp_path / "test" / kind / f"{number}.png", plain + number)
            write(tmp_path / "ground_truth" / kind / f"{number}_mask.png", marked)
    return tmp_path


def kinds(samples: tuple[Sample, ...]) -> list[str]:
    return sorted(sample.kind for sample in samples)


def test_seen_defects_are_taken_in_turns_and_leave_the_test(parts: Path) -> None:
    dataset = find_samples(parts)
    seen, rest = draw_seen(dataset, 7, 1)
    assert kinds(seen) == ["crack"] * 3 + ["dent"] * 3 + ["stain"]
    assert {*seen, *rest.test} == set(dataset.test)
    assert len(rest.test) == 4
    assert rest.normals == dataset.normals


def test_draw_repeats_by_seed_and_differs_over_seeds(parts: Path) -> None:
    dataset = find_samples(parts)
    draws = [draw_seen(dataset, 3, seed)[0] for seed in range(8)]
    assert draws[0] == draw_seen(dataset, 3, 0)[0]
    assert len(set(draws)) > 3
    assert all(kinds(draw) == ["crack", "dent", "stain"] for draw in draws)


def test_kinds_that_are_left_out_are_never_drawn_and_stay_in_the_test(parts: Path) -> None:
    seen, rest = draw_seen(find_samples(parts), 4, 1, leave_out=["dent"])
    assert kinds(seen) == ["crack"] * 3 + ["stain"]
    assert kinds(rest.test).count("dent") == 6


def test_defects_of_the_training_part_are_drawn_first_and_the_test_loses_nothing(
    parts: Path,
) -> None:
    dataset = find_samples(parts)
    cracks = tuple(sample for sample in dataset.test if sample.kind == "crack")
    parted = replace(without(dataset, [sample.name for sample in cracks]), defects=cracks)
    seen, rest = draw_seen(parted, 2, 1)
    assert kinds(seen) == ["crack", "crack"]
    assert rest.test == parted.test
    assert len(rest.defects) == 1


def test_none_are_drawn_when_none_are_wanted(parts: Path) -> None:
    dataset = find_samples(parts)
    assert draw_seen(dataset, 0, 1) == ((), dataset)
    assert load_seen((), (8, 8)).masks.shape == (0, 8, 8)


def test_unreadable_defect_is_named_and_replaced(parts: Path) -> None:
    (parts / "test" / "stain" / "0.png").write_bytes(b"broken")
    seen, rest = draw_seen(find_samples(parts), 9, 1)
    assert kinds(seen) == ["crack"] * 3 + ["dent"] * 6
    assert len(rest.unreadable) == 1
    assert "stain" in rest.unreadable[0]


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (None, "accept or correct the predicted mask"),
        (np.zeros((20, 30), np.uint8), "marks no pixel"),
        (np.full((30, 20), 255, np.uint8), "is 30 x 20, its picture 20 x 30"),
        (b"broken", "save it again"),
    ],
)
def test_seen_defect_without_a_fitting_mask_is_refused(
    parts: Path, mask: np.ndarray | bytes | None, sentence: str
) -> None:
    path = parts / "ground_truth" / "stain" / "0_mask.png"
    path.unlink()
    if isinstance(mask, bytes):
        path.write_bytes(mask)
    elif mask is not None:
        write(path, mask)
    with pytest.raises(DatasetError, match=sentence):
        draw_seen(find_samples(parts), 3, 1)


def test_all_defects_that_can_be_learned_from_are_taken_and_the_others_named(parts: Path) -> None:
    (parts / "test" / "stain" / "0.png").write_bytes(b"broken")
    (parts / "ground_truth" / "crack" / "1_mask.png").write_bytes(b"broken")
    (parts / "ground_truth" / "dent" / "2_mask.png").unlink()
    seen, rest = draw_seen(find_samples(parts), None, 1)
    assert kinds(seen) == ["crack"] * 2 + ["dent"] * 5
    assert len(rest.unreadable) == 3
    assert all(any(name in each for each in rest.unreadable) for name in ("stain", "crack", "dent"))
    assert len(load_seen(seen, (8, 8)).pixels) == 7


def test_too_few_defects_are_refused_with_their_number(parts: Path) -> None:
    with pytest.raises(DatasetError, match="10 readable defects, 11 are wanted"):
        draw_seen(find_samples(parts), 11, 1)
    with pytest.raises(DatasetError, match="no defects to learn from"):
        draw_seen(find_samples(parts), 1, 1, leave_out=["dent", "crack", "stain"])


def test_pixels_and_masks_come_at_the_size_wanted(parts: Path) -> None:
    seen, _ = draw_seen(find_samples(parts), 4, 1)
    pictures = load_seen(seen, (40, 60))
    assert pictures.pixels.shape == (4, 40, 60, 3)
    assert pictures.masks.sum(axis=(1, 2)).tolist() == [4 * 7 * 4] * 4


def test_record_survives_the_file_and_finds_its_pictures(parts: Path, tmp_path: Path) -> None:
    dataset = find_samples(parts)
    seen, _ = draw_seen(dataset, 4, 1)
    record = seen_record(dataset.name, 1, ["stain"], seen)
    assert read_seen(tmp_path) is None
    write_seen(tmp_path, record)
    assert read_seen(tmp_path) == record
    assert set(recognise(dataset, record)) == set(seen)


def test_another_picture_of_a_recorded_name_is_not_taken_for_it(parts: Path) -> None:
    dataset = find_samples(parts)
    seen, _ = draw_seen(dataset, 4, 1)
    record = seen_record(dataset.name, 1, (), seen)
    write(seen[2].path, np.full((20, 30, 3), 7, np.uint8))
    assert set(recognise(dataset, record)) == {seen[0], seen[1], seen[3]}


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"pictures": 3}', b"\xff"])
def test_foreign_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SEEN_NAME).write_bytes(content)
    with pytest.raises(DatasetError, match="no list of seen pictures"):
        read_seen(tmp_path)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 5))
def test_turns_give_each_once_and_no_kind_leads_by_more_than_one(
    letters: list[str], seed: int
) -> None:
    pool = [Sample(str(i), Path(str(i)), kind) for i, kind in enumerate(letters)]
    order = list(_in_turns(pool, np.random.default_rng(seed)))
    assert sorted(order, key=lambda s: int(s.name)) == pool
    for end in range(len(order)):
        taken = [sample.kind for sample in order[:end]]
        open_kinds = {sample.kind for sample in order[end:]}
        counts = [taken.count(kind) for kind in open_kinds]
        assert max(counts, default=0) - min(counts, default=0) <= 1


def test_dataset_without_defects_has_none_to_draw(parts: Path) -> None:
    dataset = find_samples(parts)
    good = Dataset("parts", dataset.normals, tuple(s for s in dataset.test if s.kind == GOOD))
    with pytest.raises(DatasetError, match="holds no defects"):
        draw_seen(good, 1, 1)


def test_reason_is_said_where_no_defect_can_be_learned_from(parts: Path) -> None:
    for path in (parts / "test" / "dent").iterdir():
        assert cv2.imwrite(str(path), np.full((20, 30), 300, np.uint16))
    words = r"none of 6 defects of .* \(kinds left out: crack, stain\), the first: .*16-bit picture"
    with pytest.raises(DatasetError, match=words):
        draw_seen(find_samples(parts), 2, 1, ("crack", "stain"))


def test_what_was_learned_is_recognised_under_another_name_and_coding(
    parts: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    write(parts / "test" / "good" / "0.png", np.full((20, 30, 3), 50, np.uint8))
    dataset = find_samples(parts)
    dents = [sample for sample in dataset.test if sample.kind == "dent"]
    for number, sample in enumerate((*dents[4:], dataset.test[0])):
        copy = cv2.imread(str(sample.path))
        assert cv2.imwrite(str(tmp_path / f"{number}.bmp"), copy)
    copies = [Sample(f"c/{n}", tmp_path / f"{n}.bmp", "dent") for n in range(3)]
    pictures = load_pictures(copies, (8, 8))
    write_seen(store, seen_record("store", 1, (), copies[:2], pictures.shas))
    rest = unseen(dataset, [store / "prn-s.onnx"])
    assert {*dents[4:], dataset.test[0]} == {*dataset.test} - {*rest.test}


def test_record_of_before_still_finds_its_defects(parts: Path, tmp_path: Path) -> None:
    dataset = find_samples(parts)
    seen, _ = draw_seen(dataset, 3, 1)
    old = json.loads(seen_record(dataset.name, 1, (), seen).model_dump_json())
    old["schema_version"] = 1
    del old["content"]
    (tmp_path / SEEN_NAME).write_text(json.dumps(old))
    record = read_seen(tmp_path)
    assert record is not None
    assert set(recognise(dataset, record)) == set(seen)


def test_normals_of_a_second_engine_join_the_record_of_the_first(
    parts: Path, tmp_path: Path
) -> None:
    seen, _ = draw_seen(find_samples(parts), 2, 1)
    write_seen(tmp_path, seen_record("parts", 1, (), seen, ["b", "a"]))
    join_seen(tmp_path, seen_record("parts", 1, (), (), ["b", "c"]))
    found = read_seen(tmp_path)
    assert found is not None
    assert (len(found.pictures), found.content) == (2, ("a", "b", "c"))
