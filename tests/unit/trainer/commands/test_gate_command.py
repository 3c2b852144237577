"""`trainer-gate`: which pictures it judges by."""

from pathlib import Path

import numpy as np
from fakes.gate import SIDE

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
