"""`trainer-gate`: which pictures it judges by."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes.gate import SIDE
from pydantic import ValidationError

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.pictures.read import read_picture
from trainer.commands.gate import gate
from trainer.dataset import GOOD, content_sha
from trainer.results.drawing import save_picture
from trainer.retrain.gate_report import REPORT_NAME, GateReport
from trainer.retrain_settings import GateSettings
from trainer.samples.records import LabelSource
from trainer.samples.store import SampleStore
from trainer.seen import seen_record, write_seen

GOODS, DENTS = 12, 9


SEVERAL = 6  # pictures of a part


def engine(folder: Path, learned: list[np.ndarray]) -> Path:
    """An engine file with the record of what it learned from beside it."""
    folder.mkdir()
    write_fixed_engine(folder / "e.fixed", FixedPlan(height=SIDE, width=SIDE))
    write_seen(folder, seen_record("any", 1, (), (), map(content_sha, learned)))
    return folder / "e.fixed"


def pictures() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 255, (GOODS + DENTS, SIDE, SIDE, 3), dtype=np.uint8)
    return list(drawn[:GOODS]), list(drawn[GOODS:])


def judged_by(
    folder: Path, new: list[np.ndarray], old: list[np.ndarray], **where: Path
) -> tuple[int, int]:
    """Good and defective pictures that the gate judges by, by what the two engines learned."""
    candidate, incumbent = engine(folder / "new", new), engine(folder / "old", old)
    gate(GateSettings(candidate=candidate, incumbent=incumbent, out=folder / "gate", **where))
    report = GateReport.model_validate_json((folder / "gate" / REPORT_NAME).read_bytes())
    return report.normals, report.defects


def test_pictures_of_a_folder_that_an_engine_learned_from_are_not_judged(tmp_path: Path) -> None:
    goods, dents = pictures()
    for kind, each in ((GOOD, goods), ("dent", dents)):
        for number, pixels in enumerate(each):
            save_picture(tmp_path / "data" / "test" / kind / f"{number}.png", pixels)
    save_picture(tmp_path / "data" / "train" / GOOD / "0.png", goods[0] // 2)
    learned = [goods[3], dents[2], dents[4]]
    found = judged_by(tmp_path, learned, [dents[5]], data=tmp_path / "data")
    assert found == (GOODS - 1, DENTS - 3)


def test_golden_pictures_that_an_engine_learned_from_are_not_judged(tmp_path: Path) -> None:
    goods, _ = pictures()
    with SampleStore.open(tmp_path / "store") as store:
        for pixels in goods:
            store.keep(store.add(pixels, GOOD, None, LabelSource("o")).sha)
        golden = [read_picture(sample.path) for sample in store.golden().test]
    found = judged_by(tmp_path, golden[:1], golden[1:2], store=tmp_path / "store")
    assert found == (len(golden) - 2, 0)


def series(folder: Path) -> Path:
    """Two parts in six pictures each, and three dents, in a folder for --data."""
    goods, dents = pictures()
    for number, pixels in enumerate(goods):
        part = number // SEVERAL
        save_picture(folder / "test" / GOOD / f"part{part}_{number}.png", pixels)
    for number, pixels in enumerate(dents[:3]):
        save_picture(folder / "test" / "dent" / f"dent_{number}.png", pixels)
    save_picture(folder / "train" / GOOD / "other.png", goods[0] // 2)
    return folder


def test_gate_counts_the_groups_that_a_person_names_and_prints_every_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = series(tmp_path / "data")
    (data / "test" / "notes.txt").write_text("x")
    flags = {"group_pattern": r"(part\d)_", "as_json": True}
    candidate = engine(tmp_path / "new", [])
    gate(GateSettings(candidate=candidate, out=tmp_path / "gate", data=data, **flags))
    printed = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "gate" / REPORT_NAME).read_text())
    assert printed == kept | {"files": printed["files"]}
    assert (printed["normals"], printed["normal_groups"]) == (GOODS, 2)
    assert (printed["defects"], printed["defect_groups"]) == (3, 3)
    assert printed["files"]["pictures"] == GOODS + 3 + 1
    assert printed["files"]["left_out"] == {"not a picture (.txt)": ["test/notes.txt"]}
    assert "12 in 2 groups of good parts" in printed["reasons"][0]


def test_gate_counts_near_copies_as_one(tmp_path: Path) -> None:
    goods, _ = pictures()
    for number, pixels in enumerate(goods):
        save_picture(tmp_path / "data" / "test" / GOOD / f"{number}.png", pixels)
    save_picture(tmp_path / "data" / "test" / GOOD / "again.png", goods[0] ^ 1)
    save_picture(tmp_path / "data" / "train" / GOOD / "other.png", goods[0] // 2)
    candidate = engine(tmp_path / "new", [])
    settings = GateSettings(candidate=candidate, out=tmp_path / "gate", data=tmp_path / "data")
    gate(settings)
    report = GateReport.model_validate_json((tmp_path / "gate" / REPORT_NAME).read_bytes())
    assert (report.normals, report.normal_groups) == (GOODS + 1, GOODS)


def test_groups_of_a_store_are_not_named_again(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a sample store knows its groups"):
        GateSettings(
            candidate=tmp_path, out=tmp_path, store=tmp_path / "store", group_pattern="part"
        )


def test_gate_knows_the_groups_of_a_store(tmp_path: Path) -> None:
    goods, _ = pictures()
    with SampleStore.open(tmp_path / "store") as store:
        for number in range(60):
            pixels = np.random.default_rng(number).integers(0, 255, goods[0].shape, np.uint8)
            source, part = LabelSource("o"), f"part {number // 3}"
            store.keep(store.add(pixels, GOOD, None, source, part).sha)
        golden = len(store.golden().test)
    settings = {"candidate": engine(tmp_path / "new", []), "out": tmp_path / "gate"}
    gate(GateSettings(store=tmp_path / "store", **settings))
    report = GateReport.model_validate_json((tmp_path / "gate" / REPORT_NAME).read_bytes())
    assert golden == report.normals == 3 * report.normal_groups > 0
