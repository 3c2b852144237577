"""`pipeline-demo`: the whole line on one machine, from pictures to the proof.

Draws a product (or takes a folder in MVTec layout), learns it from its good parts with
`trainer-train`, then passes every test part down a line: camera, worker and consumer as processes
of their own, over the embedded Redis. Ends with the table of what was decided, `pipeline-reconcile`
and a report page with the pictures.
"""

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from engines.command import CommandSettings
from engines.flags import File, Folder, Name
from pipeline.camera.folder import list_pictures
from pipeline.codecs import Codec, Transport
from pipeline.crew import Crew, Member, MemberFailed, stopping_on_signals, wait_until
from pipeline.errors import BrokenPromise, SettingsError
from pipeline.logs import start_logs
from pipeline.outcome import GOOD, conclude, measures, show
from pipeline.product import write_product
from pipeline.progress import progress
from pipeline.report import write_report
from pipeline.streams.connect import Access
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger
from pipeline.streams.link import Link, linked

LINE = "demo"
START_WAIT_S = 60.0
TRAIN_WAIT_S = 900.0
ADMIT_WAIT_S = 300.0
_ADMIT_IMAGES = 16
_ADMIT_REPEATS = 5
_TICK_S = 0.1


class DemoSettings(CommandSettings):
    """Learn a product from its good parts, inspect its test parts on a line, prove the outcome."""

    data: Folder | None = Field(
        default=None, description="folder in MVTec layout; default: a drawn product"
    )
    out: Folder = Field(default=Path("demo-out"), description="folder for engine, pictures, report")
    backbone: Name = Field(default="efficientnet_lite0", description="as trainer-train takes it")
    weights: File | None = Field(default=None, description="weights file of the backbone")
    rate: float = Field(default=20.0, gt=0, description="parts per second")
    codec: Transport = Field(default=Codec.RING, description="how pixels travel")
    seed: int = Field(default=1, ge=0, description="of the drawn product and of training")


def run(settings: DemoSettings) -> int:
    """Run the demo; 1 where a promise was broken."""
    start_logs("error", "text")
    console = Console(highlight=False)
    with stopping_on_signals():
        data = _data(settings, console)
        engine = _learn(settings, data)
        test = data / "test"
        parts = len(list_pictures(test))
        if parts == 0:
            raise SettingsError(f"no pictures in {test}: it holds good/ and one folder per defect")
        _admit(settings, engine, test)
        verdicts, reconciled = _inspect(settings, engine, test, parts, console)
        figures = _evaluate(settings, engine, data)
    return _conclude(settings, verdicts, reconciled, figures, console)


def _data(settings: DemoSettings, console: Console) -> Path:
    if settings.data is not None:
        if not (settings.data / "train" / GOOD).is_dir():
            raise SettingsError(
                f"{settings.data} has no train/good: MVTec layout is train/good, test/good, "
                "test/DEFECT, ground_truth/DEFECT"
            )
        console.print(f"[bold]1 take[/] your pictures from {settings.data}")
        return settings.data
    folder = settings.out / "product"
    if folder.exists():
        shutil.rmtree(folder)
    console.print("[bold]1 draw[/] a product: good parts to learn from, good and bad ones to test")
    write_product(folder, settings.seed)
    return folder


def _learn(settings: DemoSettings, data: Path) -> Path:
    engine = settings.out / "engine"
    flags = ["--model", "protoad", "--data", str(data), "--out", str(engine)]
    flags += ["--backbone", settings.backbone, "--seed", str(settings.seed)]
    if settings.weights is not None:
        flags += ["--weights", str(settings.weights)]
    Console(highlight=False).print("[bold]2 learn[/] it: ProtoAD, from good parts only")
    with Crew(settings.out / "logs") as crew:
        began_s = time.monotonic()
        crew.start("train", "trainer-train", *flags, show=True).wait(TRAIN_WAIT_S)
    Console(highlight=False).print(f"  learned in {time.monotonic() - began_s:.0f} s")
    return engine / "protoad.onnx"


def _admit(settings: DemoSettings, engine: Path, images: Path) -> None:
    """Let the engine prove itself: a worker serves no other."""
    flags = ["--engine", str(engine), "--images", str(images)]
    flags += ["--max-images", str(_ADMIT_IMAGES), "--repeats", str(_ADMIT_REPEATS)]
    with Crew(settings.out / "logs") as crew:
        began_s = time.monotonic()
        crew.start("admit", "engine-admit", *flags).wait(ADMIT_WAIT_S)
    Console(highlight=False).print(
        f"[bold]3 admit[/] the engine: it answers as the reference does, in every place of a batch "
        f"({time.monotonic() - began_s:.0f} s)"
    )


def _inspect(
    settings: DemoSettings, engine: Path, test: Path, parts: int, console: Console
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pass every test part down the line; returns its verdicts and what reconcile says."""
    console.print(f"[bold]4 inspect[/] {parts} parts at {settings.rate:g} a second")
    out = settings.out
    overlays, verdicts = out / "overlays", out / "verdicts.jsonl"
    for stale in (overlays, out / "redis"):
        if stale.exists():
            shutil.rmtree(stale)
    environment = {"PRN_STATE_DIR": str((out / "redis").resolve()), "PRN_LOG_FORMAT": "json"}
    with (
        linked(Access(""), out / "redis") as link,
        Crew(out / "logs", environment) as crew,
    ):
        ledger = Ledger(link.client, LINE)
        worker = crew.start("worker", "pipeline-worker", "--line", LINE, "--engine", str(engine))
        consumer = crew.start(
            "consume",
            "pipeline-consume",
            "--line",
            LINE,
            "--from-start",
            "--count",
            str(parts),
            "--overlay-dir",
            str(overlays),
            "--pictures",
            str(test),
            to=verdicts,
        )
        _wait_for_worker(link, worker)
        camera = crew.start(
            "camera",
            "pipeline-camera",
            "--line",
            LINE,
            "--source",
            f"folder:{test}",
            "--rate",
            str(settings.rate),
            "--codec",
            settings.codec.value,
            "--part-pattern",
            r"(.+)\.\w+$",
        )
        _follow(ledger, parts, [worker, consumer, camera])
        camera.wait(START_WAIT_S)
        consumer.wait(START_WAIT_S)
        console.print("[bold]5 prove[/] one verdict for every part")
        reconcile = crew.start(
            "reconcile", "pipeline-reconcile", "--line", LINE, "--json", to=out / "reconcile.json"
        )
        with contextlib.suppress(MemberFailed):
            reconcile.wait(START_WAIT_S)
        worker.check(worker.stop())
    lines = verdicts.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads((out / "reconcile.json").read_text())


def _wait_for_worker(link: Link, worker: Member) -> None:
    controls = Controls(link.client, LINE)

    def beats() -> bool:
        if not worker.alive():
            worker.check(worker.process.returncode)
        return bool(controls.workers())

    wait_until(beats, START_WAIT_S, "the worker's first heartbeat")


def _follow(ledger: Ledger, parts: int, members: list[Member]) -> None:
    """Show verdicts as they come, until there is one for every part."""
    with progress("verdicts", parts, shown=sys.stderr.isatty()) as advance:
        shown, moved_s = 0, time.monotonic()
        while shown < parts:
            answered = sum(ledger.books().counts.values())
            if answered > shown:
                advance(answered - shown)
                shown, moved_s = answered, time.monotonic()
            for member in members:
                if not member.alive():
                    member.check(member.process.returncode)
            if time.monotonic() - moved_s > START_WAIT_S:
                raise BrokenPromise(f"no verdict for {START_WAIT_S:.0f} s, {parts - shown} to come")
            time.sleep(_TICK_S)


def _evaluate(settings: DemoSettings, engine: Path, data: Path) -> dict[str, float]:
    """Measure the engine with `trainer-evaluate`."""
    Console(highlight=False).print(
        "[bold]6 measure[/] the engine against the truth, pixel by pixel"
    )
    found = settings.out / "evaluation.json"
    with Crew(settings.out / "logs") as crew:
        flags = ("--engine", str(engine), "--data", str(data), "--json")
        evaluate = crew.start("evaluate", "trainer-evaluate", *flags, to=found)
        evaluate.wait(TRAIN_WAIT_S)
    return measures(json.loads(found.read_text("utf-8")))


def _conclude(
    settings: DemoSettings,
    verdicts: list[dict[str, Any]],
    reconciled: dict[str, Any],
    figures: dict[str, float],
    console: Console,
) -> int:
    outcome = conclude(verdicts)
    show(outcome, figures, console)
    broken = list(reconciled["broken"])
    if outcome.parts != len({(verdict["camera"], verdict["seq"]) for verdict in verdicts}):
        broken.append("a program heard two verdicts for one part")
    page = write_report(settings.out, outcome, verdicts, figures, broken)
    console.print(f"report: {page}   overlays: {settings.out / 'overlays'}")
    for sentence in broken:
        console.print(f"[bold red]broken:[/] {sentence}")
    if not broken:
        console.print(f"[bold green]every one of {outcome.parts} parts got exactly one verdict[/]")
    return 1 if broken else 0
