"""`trainer-retrain`: once, as in a nightly job, or whenever enough labels are new."""

import json
import sys

from rich.console import Console

from engines.commandline.terminal import Terminal
from engines.registry.registry import Registry
from pipeline.announce import announce
from pipeline.labels import LabelBook
from trainer.progress import TerminalSteps
from trainer.retrain.options import Dependencies, RetrainResult
from trainer.retrain.retrain import retrain as run_once
from trainer.retrain.watch import watch
from trainer.retrain_settings import RetrainSettings

REFUSED_STATUS = 3  # differs from a failure, which a nightly job must report


def retrain(settings: RetrainSettings) -> int:
    """Retrain as the settings say; 0: promoted or nothing new, 3: refused by the gate."""
    console = Terminal(stderr=settings.as_json)
    access, wait_s = settings.redis_arguments(), settings.redis_wait_s
    registry = Registry(settings.registry)
    with TerminalSteps(console) as steps:
        dependencies = Dependencies(
            steps=steps,
            say=lambda text: console.print(text, soft_wrap=True),
            announce=lambda line: announce(line, **access),
            labels=lambda line: LabelBook(line, redis_wait_s=wait_s, **access),
        )
        if settings.watch:
            watch(settings, registry, dependencies)
            return 0
        outcome = run_once(settings, registry, dependencies)
    _tell(console, outcome, settings)
    return REFUSED_STATUS if outcome.result == "refused" else 0


def _tell(console: Console, outcome: RetrainResult, settings: RetrainSettings) -> None:
    if settings.as_json:
        fields = {
            "result": outcome.result,
            "why": outcome.why,
            "run": str(outcome.run) if outcome.run else None,
            "version": outcome.version,
        }
        sys.stdout.write(json.dumps(fields) + "\n")
        return
    style = {"promoted": "bold green", "refused": "bold red"}.get(outcome.result, "")
    console.print(f"{outcome.result}: {outcome.why}", style=style, soft_wrap=True)
    if outcome.run is not None:
        console.print(f"results are in {outcome.run}", soft_wrap=True)
