"""The paper's tables: what each row changes, and how results are kept and shown."""

import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.prn import TinyBackbone, normal_pictures
from inputs.data_folders import save
from rich.console import Console

from trainer.anomalies.synthesis import AnomalyKinds
from trainer.choices import SIMULATED_CERTAINTY
from trainer.commands.reproduce import _apart
from trainer.errors import CheckpointError, DatasetError, DeviceError
from trainer.group_rules import GroupRule, name_groups, name_groups_of_all
from trainer.layouts import find_datasets, find_samples
from trainer.networks.prn import NetworkParts
from trainer.progress import TerminalSteps
from trainer.reproduce.rows import TABLES, FourMetrics
from trainer.reproduce.tables import comparison
from trainer.reproduce.trial import RESULT_NAME, TrialResult, _about, read_result, run_baseline
from trainer.training.device import find_device
from trainer.training.prn.data import SupervisedRecipe
from trainer.training.schedule import Budget
from trainer.training.training_step import OptimizerConfig

BASE = SupervisedRecipe(
    plan="prn-s",
    backbone="resnet18",
    size=(64, 64),
    seed=1,
    seen=10,
    leave_out=(),
    parts=NetworkParts(residual_map=False),
    anomalies=AnomalyKinds(certainty=1),
    textures=None,
    batch_size=16,
    method=OptimizerConfig(),
    budget=Budget(1, "steps"),
    false_reject_rate=0.01,
    max_normals=100,
)


def result(seed: int, level: float, **more: object) -> TrialResult:
    four = FourMetrics(level, level, level, level)
    kept = TrialResult(
        configuration={"seed": seed},
        figures=four,
        apart=None,
        escapes=1,
        defects=10,
        false_rejects=2,
        normals=20,
    )
    return kept.model_copy(update=more)


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_a_table_are_different_trainings_and_one_changes_nothing(name: str) -> None:
    changed = [row.change(BASE) for row in TABLES[name].rows]
    assert len({str(each.configuration()) for each in changed}) == len(changed)
    assert BASE in changed
    assert len({row.name for row in TABLES[name].rows}) == len(changed)


def test_rows_change_one_thing_each() -> None:
    made = [row.change(BASE).anomalies.certainty for row in TABLES["table5"].rows]
    assert made == [1, 1, 1, 1, SIMULATED_CERTAINTY, 1]
    ratios = [row.change(BASE) for row in TABLES["table6"].rows]
    assert [each.prototype_share for each in ratios] == [0.05, 0.1, 0.3, 1.0]
    assert {replace(each, prototype_share=0.1) for each in ratios} == {BASE}
    seen = [row.change(BASE) for row in TABLES["table7"].rows]
    assert [each.seen for each in seen] == [0, 1, 5, 10]


def test_table_shows_mean_and_spread_over_seeds_beside_the_paper() -> None:
    found = {
        "U-Net only": [result(1, 0.5), result(1, 0.7), result(2, 0.8), result(2, 0.8)],
        "PRN, all of it": [result(1, 0.9, escapes=None)],
    }
    console = Console(width=250, record=True, file=StringIO())
    console.print(comparison(TABLES["table4"], found))
    lines = console.export_text().splitlines()
    unet = next(line for line in lines if "U-Net only" in line)
    assert unet.count("70.00 (60.00 to 80.00)") == 4  # of the seeds' means
    assert "4 of 40" in unet
    assert "97.4 / 91.7 / 88.6 / 58.5" in unet
    whole = next(line for line in lines if "all of it" in line)
    assert whole.count("90.00") == 4
    assert "99.4 / 99.0 / 96.1 / 78.6" in whole


def test_result_of_another_training_is_not_taken_for_this_one(tmp_path: Path) -> None:
    assert read_result(tmp_path, {"seed": 1}) is None
    (tmp_path / RESULT_NAME).write_text(result(1, 0.5).model_dump_json())
    assert read_result(tmp_path, {"seed": 1}) == result(1, 0.5)
    with pytest.raises(CheckpointError, match="another backbone, seed: give another --out"):
        read_result(tmp_path, {"seed": 2, "backbone": "resnet18"})
    (tmp_path / RESULT_NAME).write_text("{}")
    with pytest.raises(CheckpointError, match="is no result"):
        read_result(tmp_path, {"seed": 1})


def test_gpu_that_is_not_there_is_named() -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"--device cuda:99: torch .* finds .* GPUs"):
        find_device("cuda:99")


SIDE = 32


def series(folder: Path) -> Path:
    """Thirteen normals, the same three again among the test's, and four dents of two parts."""
    shown = normal_pictures(40)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 4:12] = 255
    for number in range(13):
        save(folder / "train" / "good" / f"part{number}_a.png", shown[number])
    for number in range(3):
        save(folder / "test" / "good" / f"part{number}_b.png", shown[20 + number])
        save(folder / "test" / "good" / f"part{number + 20}_b.png", shown[30 + number])
    save(folder / "test" / "good" / "copy_of.png", shown[5])
    for number in range(4):
        save(folder / "test" / "dent" / f"part{30 + number // 2}_{number}.png", 255 - shown[number])
        save(folder / "ground_truth" / "dent" / f"part{30 + number // 2}_{number}.png", mask)
    return folder


def judged_by(folder: Path, out: Path, rule: GroupRule) -> tuple[int, int]:
    """Good and defective pictures that a row is judged by."""
    dataset = name_groups(find_samples(folder), rule)
    (dataset,) = _apart((dataset,), Console(quiet=True))
    recipe = replace(BASE, size=(SIDE, SIDE), seen=1)
    out.mkdir()
    with TerminalSteps(Console(quiet=True)) as steps:
        found = run_baseline("untrained residual map", dataset, TinyBackbone(), recipe, out, steps)
        again = run_baseline("untrained residual map", dataset, TinyBackbone(), recipe, out, steps)
    assert found == again
    return found.normals, found.defects


def test_no_row_is_tested_with_what_copies_or_shares_a_group_with_learned_pictures(
    tmp_path: Path,
) -> None:
    folder = series(tmp_path / "parts")
    assert judged_by(folder, tmp_path / "alone", GroupRule()) == (6, 3)
    assert judged_by(folder, tmp_path / "grouped", GroupRule(pattern=r"(part\d+)_")) == (3, 2)
    dataset = name_groups(find_samples(folder), GroupRule(pattern=r"(part\d+)_"))
    configuration = _configured(tmp_path / "alone") | _about(dataset)
    with pytest.raises(CheckpointError, match="another groups, test_pictures"):
        read_result(tmp_path / "alone", configuration)


def test_copy_of_a_seen_defect_is_not_tested_with(tmp_path: Path) -> None:
    folder = series(tmp_path / "parts")
    for path in list((folder / "test" / "dent").iterdir()):
        mask = folder / "ground_truth" / "dent" / path.name
        for each in (path, mask):
            shutil.copy(each, each.with_stem(f"again_{each.stem}"))
    assert judged_by(folder, tmp_path / "alone", GroupRule()) == (6, 6)


def _configured(folder: Path) -> dict[str, str | int | float | bool | None]:
    return TrialResult.model_validate_json((folder / RESULT_NAME).read_bytes()).configuration


def test_test_that_holds_nothing_but_learned_groups_is_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "parts")
    dataset = name_groups(find_samples(folder), GroupRule(pattern="(p|c)"))
    with pytest.raises(DatasetError, match="no test picture is left"):
        _apart((dataset,), Console(quiet=True))


def test_file_of_groups_may_be_of_several_datasets(tmp_path: Path) -> None:
    series(tmp_path / "all" / "one")
    series(tmp_path / "all" / "two")
    file = tmp_path / "groups.csv"
    file.write_text("one/train/good/part0_a.png,x\none/train/good/part1_a.png,x\n")
    one, two = name_groups_of_all(find_datasets(tmp_path / "all"), GroupRule(file))
    assert [sample.group for sample in one.normals].count("x") == 2
    assert not any(sample.group for sample in two.normals)
    file.write_text("three/train/good/part0_a.png,x\n")
    with pytest.raises(DatasetError, match="names none of the 48 pictures of one and two"):
        name_groups_of_all(find_datasets(tmp_path / "all"), GroupRule(file))
