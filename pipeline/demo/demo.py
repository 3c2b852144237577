"""`pipeline-demo`: the whole line on one machine, from pictures to the proof.

Draws a product (or takes a folder in MVTec layout), learns it with ProtoAD from good parts alone,
and passes the test parts down a line at once: a camera and a worker as processes of their own,
over the embedded Redis. Then, for the drawn product or where it is asked for, PRN-S is learned from
a few defects with their masks while parts go on passing, and the worker takes it between two
batches. Ends with the table of what was decided, `pipeline-reconcile` and a report page with the
pictures.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console

from engines.commandline.flags import File, Folder, Name
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal, headed
from engines.registry.registry import Registry
from pipeline.camera.sources.folder import list_pictures
from pipeline.codecs import Codec, Transport
from pipeline.commands.subprocesses import ProcessGroup, stopping_on_signals
from pipeline.demo.line import DemoLine, LineFiles, PassingParts, Row, mix_parts, open_line
from pipeline.demo.report import write_report
from pipeline.demo.summary import GOOD, show, summarise_run
from pipeline.demo.training import (
    EvaluatedModel,
    ModelName,
    TrainedModel,
    counted_model,
    evaluated_model,
    leave_out,
    show_comparison,
    train_model,
)
from pipeline.errors import SettingsError
from pipeline.logs import start_logs

EVALUATE_WAIT_S = 900.0
ADMIT_WAIT_S = 300.0
FLOW_RATE = 2.0  # parts a second while PRN-S is learned: the cores are for the training
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
        description="protoad: from good parts alone, in less than a minute; prn-s: then, while "
        "parts pass, from defects with masks too, three minutes more; auto: prn-s for the drawn "
        "product, protoad for --data",
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

    def learns_prn(self) -> bool:
        """Return whether PRN-S is learned too, after ProtoAD."""
        return self.model == "prn-s" or (self.model == "auto" and self.data is None)


def run(settings: DemoSettings) -> int:
    """Run the demo; 1 where a promise was broken."""
    start_logs("error", "text")
    console = Terminal()
    with stopping_on_signals():
        return _Demo(settings, console).run()


class _Demo:
    """The demo, step by step."""

    def __init__(self, settings: DemoSettings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._files = LineFiles(settings.out)
        self._began_s = time.monotonic()

    def run(self) -> int:
        """Run it all; 1 where a promise was broken."""
        settings = self._settings
        whole = "4 to 5 minutes" if settings.learns_prn() else "a minute or two"
        self._console.print(f"Takes {whole} on two cores; parts are judged in under one.")
        self._files.clear()
        data = self._data()
        parts = len(list_pictures(data / "test"))
        if not parts:
            raise SettingsError(
                f"no pictures in {data / 'test'}: it holds good/ and one folder per defect"
            )
        first = self._learn("protoad", data)
        self._admit(first, data / "test")
        self._promote(first)
        with open_line(self._files) as line:
            self._say("inspect", f"{parts} parts at {settings.rate:g} a second, with ProtoAD")
            rows = self._inspect(line, "camera-1", data)
            self._show_first(first, rows)
            served, models = first, [first]
            if settings.learns_prn():
                second, refused = self._swap(line, data)
                models.insert(0, second)
                data = self._unseen(second, data)
                if not refused:
                    served = second
                rows = self._inspect_again(line, served, data)
            self._say("prove", "one verdict for every part, and measure against the truth")
            broken = self._prove(line)
        evaluated = [self._evaluate(model, data) for model in models]
        evaluated.sort(key=lambda model: model.trained is not served)
        return self._conclude(evaluated, rows, len(line.rows), broken)

    def _say(self, verb: str, what: str) -> None:
        took = round(time.monotonic() - self._began_s)
        minutes, seconds = divmod(took, 60)
        self._console.print(headed(f"{minutes}:{seconds:02d} {verb}", what))

    def _data(self) -> Path:
        settings = self._settings
        if settings.data is not None:
            if not (settings.data / "train" / GOOD).is_dir():
                raise SettingsError(
                    f"{settings.data} has no train/good: MVTec layout is train/good, test/good, "
                    "test/DEFECT, ground_truth/DEFECT"
                )
            self._say("take", f"your pictures from {settings.data}")
            return settings.data
        folder = settings.out / "product"
        if folder.exists():
            shutil.rmtree(folder)
        self._say("draw", "a product: good parts to learn from, good and bad ones to test")
        from pipeline.product.product import write_product  # noqa: PLC0415  # it needs an extra

        write_product(folder, settings.seed)
        return folder

    def _learn(self, model: ModelName, data: Path) -> TrainedModel:
        settings = self._settings
        flags = ["--backbone", settings.backbone, "--seed", str(settings.seed)]
        if settings.weights is not None:
            flags += ["--weights", str(settings.weights)]
        if model == "prn-s":
            sources = f"good parts and {settings.seen} defects with masks"
            self._say("learn", f"PRN-S, from {sources}: about 3 minutes")
            self._console.print(f"  meanwhile ProtoAD judges {FLOW_RATE:g} parts a second")
            flags += ["--steps", str(settings.steps), "--seen", str(settings.seen)]
        else:
            self._say("learn", "ProtoAD, from good parts alone: about half a minute")
        with ProcessGroup(settings.out / "logs") as processes:
            trained = train_model(processes, model, data, settings.out / model, *flags)
        self._console.print(f"  learned in {trained.duration}")
        return trained

    def _admit(self, trained: TrainedModel, images: Path) -> None:
        """Admit the engine: a worker serves no other."""
        self._say(
            "admit", f"{trained.title}: does it answer as its reference, wherever in a batch?"
        )
        flags = ["--engine", str(trained.engine), "--images", str(images)]
        flags += ["--max-images", str(_ADMIT_IMAGES), "--repeats", str(_ADMIT_REPEATS)]
        with ProcessGroup(self._settings.out / "logs") as processes:
            began_s = time.monotonic()
            processes.start("admit", "engine-admit", *flags).wait(ADMIT_WAIT_S)
        self._console.print(f"  admitted in {time.monotonic() - began_s:.0f} s")

    def _promote(self, trained: TrainedModel) -> str:
        """Register the engine and put it in force, as `engine-registry` does; its version."""
        registry = Registry(str(self._files.registry))
        version = registry.register(trained.engine, {}).name
        registry.promote(version, "pipeline-demo")
        return version

    def _show_first(self, trained: TrainedModel, rows: list[Row]) -> None:
        """Print what the first engine decided, and write a first report to look at meanwhile."""
        summary = summarise_run(rows)
        show(summary, self._console)
        page = write_report(
            self._settings.out, summary, rows, [counted_model(trained, summary)], []
        )
        self._console.print(f"  look at the judged parts: {page}")

    def _swap(self, line: DemoLine, data: Path) -> tuple[TrainedModel, str]:
        """Learn PRN-S while parts pass, and let the line take it; "" or why the line refused it."""
        settings = self._settings
        with line.flow(self._mixed(data), FLOW_RATE, settings.codec):
            second = self._learn("prn-s", data)
            self._admit(second, data / "test")
        self._say("swap", "PRN-S in while parts pass: shadow, swap between two batches, watch")
        with line.flow(self._files.passing, settings.rate, settings.codec):
            refused = line.swap_to(self._promote(second))
        outcome = f"refused, ProtoAD stays: {refused}" if refused else "held: PRN-S judges now"
        self._console.print(f"  {outcome}")
        return second, refused

    def _unseen(self, trained: TrainedModel, data: Path) -> Path:
        """Leave out the test parts that the model learned from."""
        if trained.seen:
            self._console.print(
                f"  the {len(trained.seen)} defects that it learned from are left out below"
            )
        return leave_out(data, trained.seen, self._settings.out / "unseen")

    def _inspect_again(self, line: DemoLine, served: TrainedModel, data: Path) -> list[Row]:
        settings, parts = self._settings, len(list_pictures(data / "test"))
        self._say("inspect", f"{parts} parts at {settings.rate:g} a second, with {served.title}")
        shutil.rmtree(self._files.overlays, ignore_errors=True)
        return self._inspect(line, "camera-2", data)

    def _inspect(self, line: DemoLine, camera: str, data: Path) -> list[Row]:
        settings, parts = self._settings, len(list_pictures(data / "test"))
        passing = PassingParts(self._mixed(data), data / "test", parts)
        return line.inspect(camera, passing, settings.rate, settings.codec)

    def _mixed(self, data: Path) -> Path:
        """Lay out the test parts in the order in which they pass, mixed as on a belt."""
        return mix_parts(data / "test", self._files.passing, self._settings.seed)

    @staticmethod
    def _prove(line: DemoLine) -> list[str]:
        """Return the promises that did not hold."""
        broken = list(line.prove()["broken"])
        if twice := line.heard_twice():
            broken.append(f"a program heard two verdicts for {twice} parts")
        return broken

    def _evaluate(self, trained: TrainedModel, data: Path) -> EvaluatedModel:
        """Measure an engine with `trainer-evaluate`."""
        out = self._settings.out
        found = out / f"evaluation-{trained.model}.json"
        with ProcessGroup(out / "logs") as processes:
            flags = ("--engine", str(trained.engine), "--data", str(data), "--json")
            evaluate = processes.start("evaluate", "trainer-evaluate", *flags, to=found)
            evaluate.wait(EVALUATE_WAIT_S)
        return evaluated_model(trained, json.loads(found.read_text("utf-8")))

    def _conclude(
        self, models: list[EvaluatedModel], rows: list[Row], passed: int, broken: list[str]
    ) -> int:
        summary, trained, console = summarise_run(rows), models[0].trained, self._console
        console.print(
            headed(f"{trained.title},", f"learned in {trained.duration} from {trained.sources}:")
        )
        show(summary, console)
        show_comparison(models, console)
        page = write_report(self._settings.out, summary, rows, models, broken)
        for sentence in broken:
            console.print(headed("broken:", sentence, "bold red"))
        if not broken:
            kept = f"every one of {passed} parts got exactly one verdict"
            console.print(kept, style="bold green")
        self._say("done:", f"open {page}")
        self._show_next()
        return 1 if broken else 0

    def _show_next(self) -> None:
        """Print what a new user wants next."""
        folder = Path(sys.executable).parent
        here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        pictures = self._settings.data or self._settings.out / "product"
        console = self._console
        console.print(headed("next:", "your own pictures, then a line that goes on"))
        console.print(f"  {here}/pipeline-demo --data YOUR_PICTURES", soft_wrap=True)
        console.print(
            f"  {here}/pipeline-worker --line line-1 --registry {self._files.registry} &",
            soft_wrap=True,
        )
        console.print(
            f"  {here}/pipeline-camera --line line-1 --source folder:{pictures}/test --rate 10",
            soft_wrap=True,
        )
