import json
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from engines.pictures.read import read_picture
from pipeline.archive import ArchivedFrame
from pipeline.frames import Label, LabelKind
from pipeline.label_rules import box
from pipeline.masks import run_lengths
from trainer.dataset import GOOD, Dataset, content_sha
from trainer.errors import SampleError, StoreBusy, StoreError
from trainer.layouts import find_samples
from trainer.results.drawing import save_picture
from trainer.samples.files import find_pictures
from trainer.samples.group_journal import JOURNAL_NAME, GroupJournal
from trainer.samples.index import INDEX_NAME, index_opened
from trainer.samples.records import AddResult, LabelSource, Picture, SampleStatus
from trainer.samples.snapshots import record_of
from trainer.samples.split import Split, choose_split
from trainer.samples.store import SampleStore
from trainer.truth import truth_at

SIDE = 24


class Quiet:
    def step(self, name: str, total: int | None) -> AbstractContextManager:
        del name, total
        return nullcontext(lambda _: None)


def picture(seed: int) -> np.ndarray:
    """Noise: no two are alike."""
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def nearly(pixels: np.ndarray) -> np.ndarray:
    """The same part photographed again."""
    return np.clip(pixels.astype(int) + np.array([1, -1, 1]), 0, 255).astype(np.uint8)


def marked() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[2:6, 3:9] = True
    return mask


def is_golden(pixels: np.ndarray) -> bool:
    return choose_split(content_sha(pixels), []) is Split.GOLDEN


def on_side(golden: bool) -> np.ndarray:  # noqa: FBT001
    """A picture that the rule puts on a side."""
    return next(each for each in map(picture, range(1000)) if is_golden(each) == golden)


def add(store: SampleStore, pixels: np.ndarray, kind: str = GOOD, origin: str = "o") -> AddResult:
    return store.add(pixels, kind, None if kind == GOOD else marked(), LabelSource(origin))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SampleStore]:
    with SampleStore.open(tmp_path / "samples") as opened:
        yield opened


def seen(dataset: Dataset) -> dict[str, str]:
    every = (*dataset.normals, *dataset.defects, *dataset.test)
    return {sample.path.stem: sample.kind for sample in every}


def test_picture_is_kept_once_and_comes_back_as_it_was(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    added = add(store, pixels)
    assert (added.state, add(store, pixels, origin="p").state) == ("new", "known")
    store.keep(added.sha)
    dataset = store.training(store.snapshot())
    assert [sample.path.parts[-3:-1] for sample in dataset.normals] == [("train", "good")]
    assert np.array_equal(read_picture(dataset.normals[0].path), pixels)
    assert [said.source.origin for said in store.label_records(added.sha)] == ["o", "p"]


def test_new_normal_is_seen_by_nobody_before_it_was_screened(store: SampleStore) -> None:
    added = [add(store, on_side(golden)) for golden in (False, True)]
    assert store.snapshot().normals == 0
    assert store.golden().test == ()
    for each in added:
        store.keep(each.sha)
    assert seen(store.training(store.snapshot())) == {added[0].sha: GOOD}
    assert seen(store.golden()) == {added[1].sha: GOOD}


def test_last_label_counts_and_all_are_remembered(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    sha = add(store, pixels, "dent", "a").sha
    assert add(store, pixels, "crack", "b").state == "changed"
    assert seen(store.training(store.snapshot())) == {sha: "crack"}
    assert [said.kind for said in store.label_records(sha)] == ["dent", "crack"]
    assert add(store, pixels, "dent", "a").state == "known"  # said before the other
    assert len(list(store.folder.glob("train/*/*.png"))) == 1


def test_defect_that_is_called_good_is_screened_like_any_new_normal(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    add(store, pixels, "dent", "a")
    add(store, pixels, GOOD, "b")
    assert [each.kind for each in store.pictures(SampleStatus.INCOMING)] == [GOOD]


def test_defect_keeps_its_mask_when_only_its_kind_changes(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    add(store, pixels, "dent", "a")
    store.add(pixels, "crack", None, LabelSource("b"))
    (sample,) = store.training(store.snapshot()).defects
    assert np.array_equal(truth_at(sample, (SIDE, SIDE), (SIDE, SIDE)), marked())


def test_golden_picture_stays_golden_whatever_it_is_called(store: SampleStore) -> None:
    pixels = on_side(golden=True)
    added = add(store, pixels, "dent", "a")
    assert added.golden
    assert add(store, pixels, "crack", "b").golden
    assert seen(store.golden()) == {added.sha: "crack"}
    add(store, pixels, GOOD, "c")
    store.hold(added.sha, ["odd"])
    assert store.golden().test == ()
    store.release(added.sha, GOOD, "anna")
    assert seen(store.golden()) == {added.sha: GOOD}
    assert store.snapshot().pictures == ()


def test_near_duplicate_goes_where_its_like_is(store: SampleStore) -> None:
    pixels = on_side(golden=True)
    assert add(store, pixels).golden
    again = [nearly(pixels), nearly(nearly(pixels)), nearly(nearly(nearly(pixels)))]
    assert all(add(store, each).golden for each in again)
    assert not add(store, on_side(golden=False)).golden


def both_sides() -> tuple[np.ndarray, ...]:
    """A golden picture, one to learn from, and one between them that is like each."""
    middle = np.full((32, 32, 3), 100, np.int64)
    middle[:16] = 160
    for seed in range(1000):  # 0.8 grey levels from the middle each, 1.6 from each other
        change = np.random.default_rng(seed).choice([-1, 0, 1], (32, 32, 1), p=[0.4, 0.2, 0.4])
        one, other = ((middle + sign * change).astype(np.uint8) for sign in (1, -1))
        if is_golden(one) and not is_golden(other):
            break
    return one, other, middle.astype(np.uint8)


def test_picture_like_both_sides_is_on_neither(store: SampleStore) -> None:
    one, other, middle = both_sides()
    assert add(store, one).golden
    assert not add(store, other).golden
    between = store.add(middle, "dent", None, LabelSource("o"))
    assert store.named(between.sha).place is SampleStatus.ASIDE
    assert seen(store.golden()) == seen(store.training(store.snapshot())) == {}


def test_picture_like_both_sides_stays_aside_when_it_was_rejected_and_is_released(
    store: SampleStore,
) -> None:
    one, other, middle = both_sides()
    for pixels in (one, other):
        add(store, pixels)
    sha = store.add(middle, "dent", None, LabelSource("o")).sha
    store.reject(sha, "anna")
    assert store.release(sha, "dent", "anna").place is SampleStatus.ASIDE
    assert store.path(store.named(sha)).is_file()
    assert store.snapshot().pictures == ()


def test_golden_picture_that_waited_is_released_though_one_like_it_is_aside(
    store: SampleStore,
) -> None:
    one, other, middle = both_sides()
    golden = add(store, one).sha
    add(store, other)
    store.add(middle, "dent", None, LabelSource("o"))
    store.hold(golden, ["odd"])
    assert store.release(golden, GOOD, "anna").place is SampleStatus.KEPT
    assert seen(store.golden()) == {golden: GOOD}


def test_lost_index_puts_what_waits_and_is_like_both_sides_aside(tmp_path: Path) -> None:
    one, other, middle = both_sides()
    with SampleStore.open(tmp_path) as store:
        for pixels in (one, other):
            store.add(pixels, "dent", None, LabelSource("o"))
        sha = store.add(middle, GOOD, None, LabelSource("o")).sha
        lies = store.path(store.named(sha))
    (tmp_path / INDEX_NAME).unlink()
    (tmp_path / "incoming").mkdir()
    lies.rename(tmp_path / "incoming" / lies.name)
    with SampleStore.open(tmp_path) as store:
        assert store.named(sha).place is SampleStatus.ASIDE
        assert lies.is_file()


@pytest.mark.parametrize(
    ("likes", "wanted"),
    [([True], Split.GOLDEN), ([False, False], Split.TRAINING), ([True, False], Split.NEITHER)],
)
def test_rule_asks_the_likes_first(likes: list[bool], wanted: Split) -> None:
    assert all(choose_split(f"{number:08x}", likes) is wanted for number in range(10))


def test_a_fifth_is_golden_by_content() -> None:
    rng = np.random.default_rng(0)
    drawn = [choose_split(rng.bytes(32).hex(), []) is Split.GOLDEN for _ in range(2000)]
    assert 0.17 < np.mean(drawn) < 0.23


def test_snapshot_is_named_by_what_it_holds_and_does_not_change(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    sha = add(store, pixels, "dent", "a").sha
    first = store.snapshot()
    assert store.snapshot() == first
    add(store, pixels, "crack", "b")
    second = store.snapshot()
    assert second.sha256 != first.sha256
    store.reject(sha, "anna")
    assert store.snapshot().pictures == ()
    assert seen(store.training(first)) == {sha: "dent"}
    assert seen(store.training(second.sha256)) == {sha: "crack"}


def test_snapshot_that_was_changed_is_refused(store: SampleStore) -> None:
    add(store, on_side(golden=False), "dent")
    record = store.snapshot()
    path = store.folder / "snapshots" / f"{record.sha256}.json"
    path.write_text(path.read_text().replace("dent", "dint"))
    with pytest.raises(StoreError, match="was changed after"):
        store.training(record)


def test_defect_without_a_mask_tests_but_is_not_learned(store: SampleStore) -> None:
    for golden in (False, True):
        store.add(on_side(golden), "dent", None, LabelSource("a"))
    dataset = store.training(store.snapshot())
    assert dataset.defects == ()
    assert "no mask says where the dent is" in dataset.unreadable[0]
    assert len(store.golden().test) == 1


@pytest.mark.parametrize("kind", ["", "..", "a/b", ".hidden", "x" * 65, "a\n"])
def test_kind_that_is_no_folder_is_refused(store: SampleStore, kind: str) -> None:
    with pytest.raises(SampleError, match="letters"):
        store.add(picture(1), kind, None, LabelSource("a"))


def test_mask_of_another_size_is_refused_and_nothing_is_stored(store: SampleStore) -> None:
    with pytest.raises(SampleError, match="draw it on that picture"):
        store.add(picture(1), "dent", np.ones((3, 4), np.bool_), LabelSource("a"))
    assert store.pictures() == []


def test_second_writer_is_refused_with_the_first_ones_process(store: SampleStore) -> None:
    with pytest.raises(StoreBusy, match=f"process {os.getpid()} "), SampleStore.open(store.folder):
        pass
    with SampleStore.look(store.folder) as reader:
        assert reader.pictures() == []


def test_what_was_rejected_stays_away_until_it_is_released(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    sha = add(store, pixels).sha
    store.reject(sha[:10], "anna")
    add(store, pixels, "dent", "b")
    assert store.snapshot().pictures == ()
    store.release(sha, "dent", "anna")
    assert store.snapshot().defects == 1
    with pytest.raises(SampleError, match="only what waits is released"):
        store.release(sha, "dent", "anna")


def test_lost_index_is_made_again_from_the_files(tmp_path: Path) -> None:
    with SampleStore.open(tmp_path) as store:
        for golden in (True, False):
            store.keep(add(store, on_side(golden)).sha)
        add(store, picture(3), "dent")
        before = store.pictures()
    (tmp_path / INDEX_NAME).unlink()
    with SampleStore.open(tmp_path) as store:
        assert store.repaired.taken_up == 3
        assert store.pictures() == before


def test_lost_file_is_reported_and_comes_back_with_its_picture(store: SampleStore) -> None:
    pixels = on_side(golden=False)
    sha = add(store, pixels, "dent").sha
    store.path(store.named(sha)).unlink()
    assert store.counts().missing == 1
    assert store.snapshot().pictures == ()
    add(store, pixels, "dent")
    assert store.counts().missing == 0


def test_file_with_other_pixels_than_its_name_says_is_left_and_named(tmp_path: Path) -> None:
    with SampleStore.open(tmp_path) as store:
        sha = add(store, picture(1), "dent").sha
        path = store.path(store.named(sha))
    stranger = path.with_name("0" * 64 + ".png")
    stranger.write_bytes(path.read_bytes())
    with SampleStore.open(tmp_path) as store:
        assert "other pixels" in store.repaired.strange[0]
    assert stranger.exists()


def test_opening_removes_what_a_kill_left_half_written_and_no_other_hidden_file(
    tmp_path: Path,
) -> None:
    with SampleStore.open(tmp_path) as store:
        path = store.path(store.named(add(store, picture(1), "dent").sha))
        snapshot = tmp_path / "snapshots" / f"{store.snapshot().sha256}.json"
    (mask,) = (tmp_path / "masks" / "dent").iterdir()
    halves = [each.with_name(f".{each.name}.0123456789abcdef") for each in (path, mask, snapshot)]
    others = [path.with_name(".notes.txt"), tmp_path / "golden" / ".DS_Store"]
    for each in (*halves, *others):
        each.parent.mkdir(exist_ok=True)
        each.write_text("x")
    with SampleStore.open(tmp_path):
        assert [each.exists() for each in (*halves, *others)] == [False] * 3 + [True] * 2


def test_golden_picture_whose_file_is_gone_is_named(store: SampleStore) -> None:
    shas = [add(store, each, "dent").sha for each in map(picture, range(40)) if is_golden(each)]
    store.path(store.named(shas[0])).unlink()
    golden = store.golden()
    assert set(seen(golden)) == set(shas[1:])
    assert len(golden.unreadable) == 1
    assert "is gone: copy a backup of it" in golden.unreadable[0]


def test_record_counts_pictures_that_come_one_by_one() -> None:
    pictures = [
        Picture(letter * 64, kind, golden=False, place=SampleStatus.KEPT)
        for letter, kind in zip("abc", (GOOD, GOOD, "dent"), strict=True)
    ]
    assert record_of(each for each in pictures) == record_of(pictures)
    assert (record_of(pictures).normals, record_of(pictures).defects) == (2, 1)


def test_index_of_the_version_before_is_read_on(tmp_path: Path) -> None:
    with SampleStore.open(tmp_path) as store:
        sha = add(store, picture(1), "dent", "a").sha
        said = store.label_records(sha)
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as index:
        index.executescript(
            "ALTER TABLE statements ADD COLUMN lot TEXT NOT NULL DEFAULT '';"
            "PRAGMA user_version = 1;"
        )
    with SampleStore.look(tmp_path) as store:
        assert store.label_records(sha) == said
    with SampleStore.open(tmp_path) as store:
        assert add(store, picture(1), "crack", "b").state == "changed"


def test_index_that_is_none_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / INDEX_NAME).write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="move it away"), SampleStore.open(tmp_path):
        pass
    with pytest.raises(StoreError, match="no sample store"), SampleStore.look(tmp_path / "gone"):
        pass


def frame(entry: str = "7-0") -> ArchivedFrame:
    return ArchivedFrame(entry, on_side(golden=False), {"captured_ns": 5})


def test_label_of_a_line_becomes_a_sample_and_is_read_once(store: SampleStore) -> None:
    label = Label("7-0", LabelKind.DEFECT, "dent", outlines=(box(2, 3, 4, 6),), by="anna", at_ns=9)
    added = store.take_label("line", "12-0", label, frame())
    assert added is not None
    assert store.labels_read("line") == "12-0"
    assert store.take_label("line", "12-0", label, frame()) is None
    (sample,) = store.training(store.snapshot()).defects
    assert np.array_equal(truth_at(sample, (SIDE, SIDE), (SIDE, SIDE)), marked())
    (said,) = store.label_records(added.sha)
    assert (said.source.by, said.source.captured_ns, said.source.origin) == ("anna", 5, "7-0")


def test_labels_read_goes_by_number_and_per_line(store: SampleStore) -> None:
    assert store.labels_read("line") == "0-0"
    for label_id in ("9-0", "10-0", "9-5"):
        store.take_label("line", label_id, Label("7-0", LabelKind.UNSURE), frame())
    assert store.labels_read("line") == "10-0"
    assert store.labels_read("other") == "0-0"


def test_expired_frame_and_doubt_are_recorded(store: SampleStore) -> None:
    assert store.take_label("line", "1-0", Label("7-0", LabelKind.NORMAL), None) is None
    assert store.take_label("line", "2-0", Label("7-0", LabelKind.UNSURE), frame()) is None
    assert [said.note for said in store.label_records("")] == ["expired", "unsure"]
    assert store.pictures() == []


def test_second_label_reaches_a_frame_that_only_the_store_still_has(store: SampleStore) -> None:
    store.take_label("line", "1-0", Label("7-0", LabelKind.DEFECT, "dent"), frame())
    added = store.take_label("line", "2-0", Label("7-0", LabelKind.DEFECT, "crack"), None)
    assert added is not None
    assert (added.state, store.named(added.sha).kind) == ("changed", "crack")


def test_label_whose_mask_does_not_fit_loses_the_mask_alone(store: SampleStore) -> None:
    label = Label("7-0", LabelKind.DEFECT, "dent", mask=np.ones((3, 3), np.bool_))
    added = store.take_label("line", "1-0", label, frame())
    assert added is not None
    assert "mask of 3x3" in store.label_records(added.sha)[0].note
    assert store.named(added.sha).mask == ""


def test_mask_that_an_engine_drew_teaches_but_proves_nothing(store: SampleStore) -> None:
    runs = run_lengths(marked())
    for golden in (False, True):
        entry = f"{int(golden)}-0"
        shown = ArchivedFrame(entry, on_side(golden), {"captured_ns": 5, "mask": runs})
        accepted = Label(entry, LabelKind.DEFECT, "dent", predicted=True)
        store.take_label("line", f"{int(golden)}-1", accepted, shown)
    (taught,) = store.training(store.snapshot()).defects
    (proof,) = store.golden().test
    assert (taught.mask is None, proof.mask is None) == (False, True)
    drawn = Label("1-0", LabelKind.DEFECT, "dent", mask=marked())
    store.take_label("line", "2-0", drawn, shown)
    assert store.golden().test[0].mask is not None


def test_import_takes_every_picture_and_a_second_one_changes_nothing(
    store: SampleStore, tmp_path: Path
) -> None:
    for number in range(6):
        save_picture(tmp_path / "d" / "train" / "good" / f"{number}.png", picture(number))
    for number in range(6, 9):
        save_picture(tmp_path / "d" / "test" / "dent" / f"{number}.png", picture(number))
    truth = tmp_path / "d" / "ground_truth" / "dent" / "6_mask.png"
    save_picture(truth, np.repeat(marked()[:, :, None] * np.uint8(255), 3, axis=2))
    (tmp_path / "d" / "train" / "good" / "broken.png").write_bytes(b"no picture")
    report = store.import_dataset(find_samples(tmp_path / "d"), Quiet())
    assert (report.added, report.known, report.without_mask) == (9, 0, 2)
    assert "broken.png" in report.unreadable[0]
    again = store.import_dataset(find_samples(tmp_path / "d"), Quiet())
    assert (again.added, again.known, again.changed) == (0, 9, 0)
    for each in store.pictures(SampleStatus.INCOMING):
        store.keep(each.sha)
    assert store.export(tmp_path / "out", Quiet()).pictures == 9
    exported = find_samples(tmp_path / "out")
    assert len(exported.normals) + len(exported.defects) + len(exported.test) == 9
    golden = {sample.path.stem for sample in store.golden().test}
    assert {sample.path.stem for sample in exported.test} == golden
    with pytest.raises(StoreError, match="holds something already"):
        store.export(tmp_path / "out", Quiet())


def test_full_disk_is_said_and_leaves_the_store_whole(
    store: SampleStore,
) -> None:
    add(store, picture(1), "dent")
    before = store.pictures()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(StoreError, match="make room or rights, then repeat"):
            add(store, picture(2), "dent")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.pictures() == before
    assert len(list(find_pictures(store.folder))) == 1
    assert add(store, picture(2), "dent").state == "new"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_exported_coco_files_say_what_the_masks_say(store: SampleStore, tmp_path: Path) -> None:
    for seed in range(4):
        store.keep(add(store, picture(seed)).sha)
    for seed in range(4, 12):
        add(store, picture(seed), "dent")
    store.add(picture(12), "dent", None, LabelSource("o"))
    report = store.export(tmp_path / "out", Quiet(), coco=True)
    assert (report.pictures, report.not_in_coco) == (13, 1)
    pictures = 0
    for part in ("train", "test"):
        document = json.loads((tmp_path / "out" / "annotations" / f"{part}.json").read_text())
        pictures += len(document["images"])
        names = {image["id"]: image["file_name"] for image in document["images"]}
        for mark in document["annotations"]:
            runs = coco_mask.frPyObjects(mark["segmentation"], SIDE, SIDE)
            assert np.array_equal(coco_mask.decode(runs), marked())
            assert mark["area"] == int(marked().sum())
            assert mark["bbox"] == list(coco_mask.toBbox(runs)) == [3, 2, 6, 4]
            assert names[mark["image_id"]].startswith(f"{part}/dent/")
    assert pictures == 12
    found = find_samples(tmp_path / "out")
    assert len(found.normals) + len(found.defects) + len(found.test) == 13


def test_group_comes_to_one_side_and_keeps_its_name(store: SampleStore) -> None:
    source = LabelSource("o")
    for number in range(60):
        store.keep(store.add(picture(number), GOOD, None, source, f"part {number // 6}").sha)
    sides: dict[str, set[bool]] = {}
    learned, golden = store.training(store.snapshot()), store.golden()
    for sample in (*learned.normals, *golden.test):
        sides.setdefault(sample.group, set()).add(sample in golden.test)
    assert len(sides) == 10
    assert all(len(each) == 1 for each in sides.values())
    assert {True} in sides.values()
    assert {False} in sides.values()


def test_known_picture_that_joins_a_golden_group_is_not_learned_any_more(
    store: SampleStore,
) -> None:
    taught, tests = on_side(golden=False), on_side(golden=True)
    for pixels in (taught, tests):
        store.keep(add(store, pixels).sha)
    store.add(tests, GOOD, None, LabelSource("p"), "part 1")
    sha = store.add(taught, GOOD, None, LabelSource("p"), "part 1").sha
    assert [each.place for each in store.pictures() if each.sha == sha] == [SampleStatus.ASIDE]
    assert not store.training(store.snapshot()).normals


def test_store_of_an_older_program_has_no_groups_until_it_is_written_to(tmp_path: Path) -> None:
    with SampleStore.open(tmp_path) as opened:
        add(opened, picture(1))
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as index:
        index.execute("DROP TABLE groups")
    with SampleStore.look(tmp_path) as looked:
        assert looked.golden().normals == ()
    with SampleStore.open(tmp_path) as opened:
        assert opened.add(picture(2), GOOD, None, LabelSource("o"), "part 1").state == "new"


def grouped_store(folder: Path) -> dict[str, str]:
    """Thirty pictures of five parts, some of them waiting; returns the group of each."""
    with SampleStore.open(folder) as store:
        for number in range(30):
            sha = store.add(
                picture(number), GOOD, None, LabelSource("o"), f"Teil ä{number % 5}"
            ).sha
            if number < 20:
                store.keep(sha)
    with index_opened(folder, to_write=False) as index:
        return index.groups()


def test_groups_outlive_a_lost_index(tmp_path: Path) -> None:
    before = grouped_store(tmp_path)
    with SampleStore.look(tmp_path) as store:
        pictures = store.pictures()
    (tmp_path / INDEX_NAME).unlink()
    with SampleStore.open(tmp_path) as store:
        assert store.pictures() == pictures
        sides: dict[str, set[bool]] = {}
        for each in store.pictures():
            sides.setdefault(before[each.sha], set()).add(each.golden)
        assert all(len(each) == 1 for each in sides.values())
        late = store.add(picture(99), GOOD, None, LabelSource("o"), "Teil ä0")
        assert {late.golden} == sides["Teil ä0"]
    with index_opened(tmp_path, to_write=False) as index:
        assert index.groups() == before | {late.sha: "Teil ä0"}


def test_journal_of_groups_is_made_for_stores_without_one_and_after_an_older_program(
    tmp_path: Path,
) -> None:
    before = grouped_store(tmp_path)
    journal = GroupJournal(tmp_path)
    assert journal.read() == before
    (tmp_path / JOURNAL_NAME).unlink()
    first = next(iter(before))
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as index, index:
        index.execute("UPDATE groups SET name = 'other' WHERE sha = ?", (first,))
    with SampleStore.open(tmp_path):
        assert journal.read() == before | {first: "other"}


@pytest.mark.parametrize("cut", [1, 20])
def test_line_that_a_kill_cut_off_costs_no_other_group(tmp_path: Path, cut: int) -> None:
    before = grouped_store(tmp_path)
    path = tmp_path / JOURNAL_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    with SampleStore.open(tmp_path) as store:
        sha = store.add(picture(70), GOOD, None, LabelSource("o"), "new").sha
    assert GroupJournal(tmp_path).read() == before | {sha: "new"}


def test_groups_of_pictures_that_are_gone_for_now_are_kept(tmp_path: Path) -> None:
    before = grouped_store(tmp_path)
    (tmp_path / INDEX_NAME).unlink()
    hidden = [path for path in tmp_path.rglob("*.png") if path.stem in before][:7]
    content = {path: path.read_bytes() for path in hidden}
    for path in hidden:
        path.unlink()
    with SampleStore.open(tmp_path) as store:
        assert len(store.pictures()) == 23
    for path, body in content.items():
        path.write_bytes(body)
    with SampleStore.open(tmp_path), index_opened(tmp_path, to_write=False) as index:
        assert index.groups() == before
