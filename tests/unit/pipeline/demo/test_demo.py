"""What the demo learns, leaves out and says; the line itself is run by tests/e2e/test_readme.py."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.manifest import Snapshot, write_manifest
from pipeline.camera.sources.folder import list_pictures
from pipeline.demo.demo import DemoSettings
from pipeline.demo.line import mix_parts
from pipeline.demo.report import write_report
from pipeline.demo.summary import summarise_run
from pipeline.demo.training import (
    EvaluatedModel,
    TrainedModel,
    counted_model,
    evaluated_model,
    leave_out,
    show_comparison,
    train_model,
)
from pipeline.errors import SettingsError
from trainer.layouts import find_samples

SEEN = frozenset({"test/dent/1.png", "test/chip/0.png"})
LESSON = TrainedModel("prn-s", Path("prn-s.onnx"), 125.4, 150, SEEN)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    folder = tmp_path / "product"
    for kind in ("good", "dent", "chip"):
        for number in range(2):
            write(folder / "test" / kind / f"{number}.png")
            if kind != "good":  # a mask that marks something says that a part is not good
                write(folder / "ground_truth" / kind / f"{number}_mask.png")
    write(folder / "train" / "good" / "0.png")
    return folder


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((4, 4, 3), 9, np.uint8))


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


class FakeTraining:
    """A crew whose `trainer-train` is done at once."""

    def __init__(self, seen: frozenset[str] | None) -> None:
        self.seen = seen
        self.commands: list[tuple[str, ...]] = []
        self.found_checkpoint = False

    def start(self, _name: str, *command: str, show: bool) -> "FakeTraining":
        assert show
        self.commands.append(command)
        model, folder = command[command.index("--model") + 1], command[command.index("--out") + 1]
        engine = Path(folder) / f"{model}.onnx"
        engine.parent.mkdir(exist_ok=True)
        self.found_checkpoint = (engine.parent / "checkpoint.safetensors").exists()
        manifest = write_fixed_engine(engine, FixedPlan(height=4, width=4))
        snapshot = Snapshot(name="toy", sha256="0" * 64, normals=150)
        write_manifest(engine, manifest.model_copy(update={"snapshot": snapshot}))
        if self.seen is not None:
            pictures = dict.fromkeys(self.seen, "0" * 64)
            (engine.parent / "seen.json").write_text(json.dumps({"pictures": pictures}))
        return self

    def wait(self, _timeout_s: float) -> None:
        pass


def model(trained: TrainedModel, ap: float | None = 0.766) -> EvaluatedModel:
    pixel = None if ap is None else {"auroc": 0.999, "pro": None, "ap": ap}
    plant = {"escapes": {"count": 1, "of": 50}, "false_rejects": {"count": 2, "of": 40}}
    return evaluated_model(trained, {"image_auroc": 0.9985, "pixel": pixel, "plant": plant})


def verdict(part_id: str, decision: str, seq: int) -> dict[str, Any]:
    return {
        "part_id": part_id,
        "decision": decision,
        "reason": None,
        "camera": "camera-1",
        "seq": seq,
        "score": 0.4,
        "normalised": 0.4,
        "threshold": 0.5,
        "captured_ns": 10**18,
        "result_id": f"{10**12 + seq}-0",
        "timings": None,
    }


@pytest.mark.parametrize(
    ("given", "learns"),
    [
        ({}, True),
        ({"data": Path("mine")}, False),
        ({"data": Path("mine"), "model": "prn-s"}, True),
        ({"model": "protoad"}, False),
    ],
)
def test_prn_is_learned_where_it_is_asked_for_or_the_product_is_drawn(
    given: dict[str, Any],
    learns: bool,  # noqa: FBT001
) -> None:
    assert DemoSettings(**given).learns_prn() == learns


def test_parts_pass_mixed_and_each_once(product: Path, tmp_path: Path) -> None:
    mixed = mix_parts(product / "test", tmp_path / "passing", seed=1)
    passing = list_pictures(mixed)
    ids = [re.sub(r"^\d+/", "", name) for name in passing]
    assert sorted(ids) == sorted(list_pictures(product / "test"))
    assert [int(name.partition("/")[0]) for name in passing] == list(range(len(ids)))
    orders = {tuple(list_pictures(mix_parts(product / "test", mixed, seed))) for seed in range(9)}
    assert len(orders) > 1
    assert len(list_pictures(product / "test")) == 6


def test_first_report_counts_what_the_verdicts_show() -> None:
    rows = [verdict("good/0", "NG", 1), verdict("dent/0", "OK", 2), verdict("dent/1", "NG", 3)]
    counted = counted_model(LESSON, summarise_run(rows))
    assert (counted.missed, counted.rejected, counted.figures) == ("1 of 2", "1 of 1", {})


def test_parts_that_were_learned_from_are_not_inspected(product: Path, tmp_path: Path) -> None:
    unseen = leave_out(product, SEEN, tmp_path / "unseen")
    left = [name for name in files(product) if name not in SEEN and name.startswith("test/")]
    assert list_pictures(unseen / "test") == [name.removeprefix("test/") for name in left]
    assert all((unseen / name).read_bytes() == (product / name).read_bytes() for name in left)


def test_what_is_left_is_a_data_set_with_its_masks(product: Path, tmp_path: Path) -> None:
    dataset = find_samples(leave_out(product, SEEN, tmp_path / "unseen"))
    assert len(dataset.normals) == 1
    assert {sample.name for sample in dataset.test if sample.mask} >= {"test/dent/0.png"}
    assert SEEN.isdisjoint(sample.name for sample in dataset.test)


def test_leaving_out_again_touches_no_picture(product: Path, tmp_path: Path) -> None:
    before = files(product)
    leave_out(product, SEEN, tmp_path / "unseen")
    unseen = leave_out(product, ["test/good/0.png"], tmp_path / "unseen")
    assert files(product) == before
    assert "good/0.png" not in list_pictures(unseen / "test")
    assert "dent/1.png" in list_pictures(unseen / "test")


def test_data_is_taken_as_it_is_where_no_defect_was_seen(product: Path, tmp_path: Path) -> None:
    assert leave_out(product, [], tmp_path / "unseen") == product
    assert not (tmp_path / "unseen").exists()


def test_nothing_left_to_inspect_is_refused(product: Path, tmp_path: Path) -> None:
    everything = [f"test/{name}" for name in list_pictures(product / "test")]
    with pytest.raises(SettingsError, match="no test parts but the 6"):
        leave_out(product, everything, tmp_path / "unseen")


def test_lesson_says_what_was_learned_from(tmp_path: Path) -> None:
    crew = FakeTraining(SEEN)
    trained = train_model(crew, "prn-s", Path("product"), tmp_path / "prn-s", "--steps", "9")
    assert (trained.good, trained.seen) == (150, SEEN)
    assert trained.sources == "150 good parts and 2 defects with their masks"
    assert crew.commands[0][-2:] == ("--steps", "9")


def test_model_that_saw_no_defects_says_so(tmp_path: Path) -> None:
    trained = train_model(FakeTraining(None), "protoad", Path("product"), tmp_path / "protoad")
    assert (trained.seen, trained.sources) == (frozenset(), "150 good parts alone")


def test_training_begins_anew_where_an_earlier_one_ended(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"of another seed")
    crew = FakeTraining(SEEN)
    train_model(crew, "prn-s", Path("product"), tmp_path)
    assert not crew.found_checkpoint


@pytest.mark.parametrize(("seconds", "said"), [(59.4, "59 s"), (125.4, "2 min 5 s")])
def test_duration_is_worded_for_people(seconds: float, said: str) -> None:
    assert replace(LESSON, seconds=seconds).duration == said


def test_models_are_compared_in_one_table() -> None:
    console = Console(width=120, record=True, file=StringIO())
    rival = TrainedModel("protoad", Path("protoad.onnx"), 28, 150, frozenset())
    show_comparison([model(LESSON), model(rival, 0.599)], console)
    lines = console.export_text().splitlines()
    served, compared = (line for line in lines if " of 50" in line)
    told = ("PRN-S", "2:05", "99.85", "76.60", "1 of 50", "2 of 40")
    assert all(text in served for text in told)
    assert all(text in compared for text in ("ProtoAD", "0:28", "59.90"))


def test_figures_that_do_not_exist_are_left_out() -> None:
    assert model(LESSON, None).figures == {"image AUROC": 0.9985}
    assert "PRO" not in model(LESSON).figures


def test_report_tells_the_models_apart_and_what_is_left_out(tmp_path: Path) -> None:
    verdicts = [verdict("good/0", "OK", 1), verdict("dent/0", "OK", 2)]
    rival = TrainedModel("protoad", Path("protoad.onnx"), 28, 150, frozenset())
    models = [model(LESSON), model(rival)]
    page = write_report(tmp_path, summarise_run(verdicts), verdicts, models, []).read_text("utf-8")
    assert "Judged by <strong>PRN-S</strong>, learned in 2 min 5 s from 150 good parts" in page
    assert "test/chip/0.png, test/dent/1.png" in page
    assert "<td>ProtoAD</td><td>0:28</td>" in page


def test_report_leaves_nothing_out_where_no_defect_was_seen(tmp_path: Path) -> None:
    verdicts = [verdict("good/0", "OK", 1)]
    alone = [model(replace(LESSON, model="protoad", seen=frozenset()))]
    page = write_report(tmp_path, summarise_run(verdicts), verdicts, alone, []).read_text("utf-8")
    assert "Judged by <strong>ProtoAD</strong>" in page
    assert "Left out" not in page


def test_report_shows_names_of_parts_as_they_are(tmp_path: Path) -> None:
    verdicts = [verdict("<b>dent</b>/<script>alert(1)</script>", "OK", 1)]
    page = write_report(
        tmp_path, summarise_run(verdicts), verdicts, [model(LESSON)], ["a < b & c"]
    ).read_text("utf-8")
    assert "<script>" not in page
    assert "&lt;b&gt;dent&lt;/b&gt;/&lt;script&gt;alert(1)&lt;/script&gt;, score" in page
    assert "broken: a &lt; b &amp; c" in page
    assert "got exactly one verdict" not in page
