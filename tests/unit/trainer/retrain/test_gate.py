import json
from pathlib import Path

import pytest
from fakes.gate import SIDE, golden_folder
from rich.console import Console

from engines.backends.fixed import FixedPlan, write_fixed_engine
from trainer.errors import DatasetError
from trainer.progress import TerminalSteps
from trainer.retrain.comparison import Rules
from trainer.retrain.gate import Conditions, pass_gate
from trainer.retrain.gate_report import GateReport

RULES = Rules(draws=300, slack=1e9)  # a busy machine must not decide a test
GOOD_THRESHOLD = 120 / 255


def engine(folder: Path, name: str, threshold: float) -> Path:
    path = folder / f"{name}.fixed"
    write_fixed_engine(path, FixedPlan(height=SIDE, width=SIDE), image_threshold=threshold)
    return path


def gate(
    folder: Path,
    threshold: float,
    rival: float | None,
    pictures: tuple[int, int] = (20, 30),
    *,
    allow_ungated: bool = False,
) -> GateReport:
    """Fixed engines score brightness: a threshold decides how good they are."""
    samples = golden_folder(folder, *pictures)
    with TerminalSteps(Console(quiet=True)) as steps:
        return pass_gate(
            engine(folder, "candidate", threshold),
            None if rival is None else engine(folder, "incumbent", rival),
            samples,
            Conditions(allow_ungated=allow_ungated, rules=RULES),
            folder / "gate",
            steps,
        )


def test_candidate_that_lets_defects_escape_is_refused_and_keeps_its_report(tmp_path: Path) -> None:
    report = gate(tmp_path, 170 / 255, GOOD_THRESHOLD)
    assert not report.promoted
    assert "escapes" in report.reasons[0]
    kept = GateReport.model_validate_json((tmp_path / "gate" / "gate.json").read_bytes())
    assert kept == report
    page = (tmp_path / "gate" / "gate.html").read_text("utf-8")
    assert page.count("<figure>") == 12
    assert "incumbent NG, right, candidate OK, WRONG" in page


def banner(folder: Path) -> str:
    """The class of the line that says how the gate decided."""
    page = (folder / "gate" / "gate.html").read_text("utf-8")
    return page.partition('<p class="decision ')[2].partition('"')[0]


def test_page_shows_an_unproven_promotion_unlike_a_proven_one(tmp_path: Path) -> None:
    for name in ("proven", "refused", "unproven"):
        (tmp_path / name).mkdir()
    gate(tmp_path / "proven", GOOD_THRESHOLD, 170 / 255)
    gate(tmp_path / "refused", 170 / 255, GOOD_THRESHOLD)
    report = gate(tmp_path / "unproven", GOOD_THRESHOLD, None, (3, 2), allow_ungated=True)
    assert report.ungated
    assert report.promoted
    banners = [banner(tmp_path / name) for name in ("proven", "refused", "unproven")]
    assert banners == ["promote", "refuse", "unproven"]


def test_candidate_that_finds_escaped_defects_is_promoted(tmp_path: Path) -> None:
    report = gate(tmp_path, GOOD_THRESHOLD, 170 / 255)
    assert report.promoted
    assert "escapes" in report.reasons[0]
    assert (report.normals, report.defects) == (30, 20)


def test_same_engine_file_is_refused(tmp_path: Path) -> None:
    report = gate(tmp_path, GOOD_THRESHOLD, GOOD_THRESHOLD)
    assert not report.promoted
    assert "own file" in report.reasons[0]


def test_same_answers_are_refused(tmp_path: Path) -> None:
    write_fixed_engine(
        tmp_path / "candidate.fixed",
        FixedPlan(height=SIDE, width=SIDE, cost_ms_per_frame=0.001),
        image_threshold=GOOD_THRESHOLD,
    )
    samples = golden_folder(tmp_path, 20, 30)
    rival = engine(tmp_path, "incumbent", GOOD_THRESHOLD)
    with TerminalSteps(Console(quiet=True)) as steps:
        candidate, conditions = tmp_path / "candidate.fixed", Conditions(rules=RULES)
        report = pass_gate(candidate, rival, samples, conditions, tmp_path / "gate", steps)
    assert report.reasons == ("it answers every golden picture as the incumbent does",)


@pytest.mark.parametrize("pictures", [(4, 30), (20, 19), (0, 40)])
def test_too_few_golden_pictures_refuse_and_say_what_to_do(
    tmp_path: Path, pictures: tuple[int, int]
) -> None:
    report = gate(tmp_path, GOOD_THRESHOLD, 170 / 255, pictures)
    assert not report.promoted
    assert "too few golden pictures" in report.reasons[0]
    assert "--allow-ungated" in report.reasons[0]


def test_ungated_promotion_is_loud_and_still_refuses_what_is_seen_to_be_worse(
    tmp_path: Path,
) -> None:
    report = gate(tmp_path, GOOD_THRESHOLD, 170 / 255, (4, 30), allow_ungated=True)
    assert report.promoted
    assert report.ungated
    assert report.reasons[0].startswith("UNPROVEN")
    worse = gate(tmp_path, 10 / 255, GOOD_THRESHOLD, (4, 30), allow_ungated=True)
    assert not worse.promoted
    assert "false rejects" in worse.reasons[0]


def test_first_engine_needs_no_rival(tmp_path: Path) -> None:
    report = gate(tmp_path, GOOD_THRESHOLD, None)
    assert report.promoted
    assert report.incumbent is None
    assert "there is no incumbent" in report.reasons[0]
    fields = json.loads((tmp_path / "gate" / "gate.json").read_bytes())
    assert fields["figures"][0]["name"] == "escapes"


def test_no_golden_picture_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no golden picture"):
        gate(tmp_path, GOOD_THRESHOLD, None, (0, 0))
