"""`pipeline-demo`: the whole line on one machine, from pictures to the proof.

Draws a product (or takes a folder in MVTec layout), learns it with `trainer-train`, then passes the
test parts that it did not learn from down a line: camera, worker and consumer as processes of their
own, over the embedded Redis. Ends with the table of what was decided, `pipeline-reconcile` and a
report page with the pictures.

PRN-S is learned where it earns its time: on the drawn product, whose defects have masks, it misses
fewer of them than ProtoAD (docs/measurements.md); ProtoAD is learned beside it, to show that. One's
own pictures get ProtoAD alone, which takes less than a minute and needs no defects, unless PRN-S is
asked for.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from engines.commandline.flags import File, Folder, Name
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal, headed
from pipeline.camera.sources.folder import list_pictures
from pipeline.codecs import Codec, Transport
from pipeline.commands.subprocesses import ProcessGroup, stopping_on_signals
from pipeline.demo.line import Inspection, inspect
from pipeline.demo.report import write_report
from pipeline.demo.summary import GOOD, show, summarise_run
from pipeline.demo.training import (
    EvaluatedModel,
    ModelName,
    TrainedModel,
    evaluated_model,
    leave_out,
    show_comparison,
    train_model,
)
from pipeline.errors import SettingsError
from pipeline.logs import start_logs

EVALUATE_WAIT_S = 900.0
ADMIT_WAIT_S = 300.0
_ADMIT_IMAGES = 16
_ADMIT_REPEATS = 5


class DemoSettings(CommandSettings):
    """Learn a product, inspect its test parts on a line, prove the outcome."""

    data: Folder | None = Field(
        default=None, description="folder in MVTec layout; default: a drawn product"
    )
    out: Folder = Field(default=Path("demo-out"), description="folder for engine, pictures, report")
    model: Literal["auto", "protoad", "prn-s"] = Field(
        default="auto",
        description="protoad: from good parts alone, in less than a minute; prn-s: from defects "
        "with masks too, two minutes more; auto: prn-s for the drawn product, protoad for --data",
    )
    steps: int = Field(
        default=200, ge=1, description="prn-s: how long to train; half a second each on two cores"
    )
    seen: int = Field(
        default=10, ge=0, description="prn-s: test defects to learn from; not inspected"
    )
    backbone: Name = Field(default="efficientnet_lite0", description="as trainer-train takes it")
    weights: File | None = Field(default=None, description="weights file of the backbone")
    rate: float = Field(default=20.0, gt=0, description="parts per second")
    codec: Transport = Field(default=Codec.RING, description="how pixels travel")
    seed: int = Field(default=1, ge=0, description="of the drawn product and of training")

    def models(self) -> tuple[ModelName, ...]:
        """What to learn: the model that serves, then what it is compared with."""
        if self.model == "protoad" or (self.model == "auto" and self.data is not None):
            return ("protoad",)
        return ("prn-s", "protoad")


def run(settings: DemoSettings) -> int:
    """Run the demo; 1 where a promise was broken."""
    start_logs("error", "text")
    console = Terminal()
    with stopping_on_signals():
        data = _data(settings, console)
        if not list_pictures(data / "test"):
            raise SettingsError(
                f"no pictures in {data / 'test'}: it holds good/ and one folder per defect"
            )
        lessons = [_learn(settings, model, data, console) for model in settings.models()]
        data = _unseen(settings, lessons[0], data, console)
        _admit(settings, lessons[0], data / "test", console)
        parts = len(list_pictures(data / "test"))
        asked = Inspection(
            lessons[0].engine, data / "test", parts, settings.rate, settings.codec, settings.out
        )
        verdicts, reconciled = inspect(asked, console)
        console.print(headed("6 measure", "against the truth, pixel by pixel"))
        models = [_evaluate(settings, trained, data) for trained in lessons]
    return _conclude(settings, models, verdicts, reconciled, console)


def _data(settings: DemoSettings, console: Console) -> Path:
    if settings.data is not None:
        if not (settings.data / "train" / GOOD).is_dir():
            raise SettingsError(
                f"{settings.data} has no train/good: MVTec layout is train/good, test/good, "
                "test/DEFECT, ground_truth/DEFECT"
            )
        console.print(headed("1 take", f"your pictures from {settings.data}"))
        return settings.data
    folder = settings.out / "product"
    if folder.exists():
        shutil.rmtree(folder)
    console.print(
        headed("1 draw", "a product: good parts to learn from, good and bad ones to test")
    )
    from pipeline.product.product import write_product  # noqa: PLC0415  # it needs an extra

    write_product(folder, settings.seed)
    return folder


def _learn(settings: DemoSettings, model: ModelName, data: Path, console: Console) -> TrainedModel:
    flags = ["--backbone", settings.backbone, "--seed", str(settings.seed)]
    if settings.weights is not None:
        flags += ["--weights", str(settings.weights)]
    if model == "prn-s":
        how = f"{settings.seen} defects with their masks, {settings.steps} steps"
        console.print(headed("2 learn", f"it with PRN-S: from good parts and {how}"))
        flags += ["--steps", str(settings.steps), "--seen", str(settings.seen)]
    else:
        compared = " too, to see what PRN-S earns" if len(settings.models()) > 1 else ""
        console.print(headed("2 learn", f"it with ProtoAD{compared}: from good parts alone"))
    with ProcessGroup(settings.out / "logs") as processes:
        trained = train_model(processes, model, data, settings.out / model, *flags)
    console.print(f"  learned in {trained.duration}")
    return trained


def _unseen(settings: DemoSettings, trained: TrainedModel, data: Path, console: Console) -> Path:
    """Take what was learned from out of the parts to inspect, and say so."""
    if trained.seen:
        console.print(f"  the {len(trained.seen)} defects that it learned from are left out below")
    return leave_out(data, trained.seen, settings.out / "unseen")


def _admit(settings: DemoSettings, trained: TrainedModel, images: Path, console: Console) -> None:
    """Let the engine prove itself: a worker serves no other."""
    flags = ["--engine", str(trained.engine), "--images", str(images)]
    flags += ["--max-images", str(_ADMIT_IMAGES), "--repeats", str(_ADMIT_REPEATS)]
    with ProcessGroup(settings.out / "logs") as processes:
        began_s = time.monotonic()
        processes.start("admit", "engine-admit", *flags).wait(ADMIT_WAIT_S)
    answers = "it answers as the reference does, in every place of a batch"
    took = f"{time.monotonic() - began_s:.0f} s"
    console.print(headed("3 admit", f"{trained.title}: {answers} ({took})"))


def _evaluate(settings: DemoSettings, trained: TrainedModel, data: Path) -> EvaluatedModel:
    """Measure an engine with `trainer-evaluate`."""
    found = settings.out / f"evaluation-{trained.model}.json"
    with ProcessGroup(settings.out / "logs") as processes:
        flags = ("--engine", str(trained.engine), "--data", str(data), "--json")
        evaluate = processes.start("evaluate", "trainer-evaluate", *flags, to=found)
        evaluate.wait(EVALUATE_WAIT_S)
    return evaluated_model(trained, json.loads(found.read_text("utf-8")))


def _conclude(
    settings: DemoSettings,
    models: list[EvaluatedModel],
    verdicts: list[dict[str, Any]],
    reconciled: dict[str, Any],
    console: Console,
) -> int:
    summary, trained = summarise_run(verdicts), models[0].trained
    console.print(
        headed(f"{trained.title},", f"learned in {trained.duration} from {trained.sources}:")
    )
    show(summary, console)
    show_comparison(models, console)
    broken = list(reconciled["broken"])
    if summary.parts != len({(verdict["camera"], verdict["seq"]) for verdict in verdicts}):
        broken.append("a program heard two verdicts for one part")
    page = write_report(settings.out, summary, verdicts, models, broken)
    console.print(f"report: {page}   engine: {trained.engine}")
    for sentence in broken:
        console.print(headed("broken:", sentence, "bold red"))
    if not broken:
        kept = f"every one of {summary.parts} parts got exactly one verdict"
        console.print(kept, style="bold green")
    return 1 if broken else 0
