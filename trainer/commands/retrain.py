"""`trainer-retrain`: once, as a nightly job does, or whenever enough is new."""

import json
import sys

from rich.console import Console

from engines.registry.registry import Registry
from pipeline.announce import announce
from trainer.progress import TerminalSteps
from trainer.retrain.options import Ending, Options, Recipe, Redis, Seams
from trainer.retrain.retrain import retrain as run_once
from trainer.retrain.watch import Enough, watch
from trainer.retrain_settings import RetrainSettings

REFUSED_STATUS = 3  # told apart from a failure, which a nightly job must report


def retrain(settings: RetrainSettings) -> int:
    """Retrain as the settings say; 0: promoted or nothing new, 3: refused by the gate."""
    console = Console(highlight=False, stderr=settings.as_json)
    options = _options(settings)
    registry = Registry(settings.registry)
    with TerminalSteps(console) as steps:
        seams = Seams(
            steps=steps,
            say=lambda text: console.print(text, soft_wrap=True, markup=False),
            announce=lambda line: _announce(line, options.redis),
        )
        if settings.watch:
            enough = Enough(settings.new_normals, settings.new_defects)
            watch(options, registry, seams, enough, settings.every_s)
            return 0
        ending = run_once(options, registry, seams)
    _tell(console, ending, settings)
    return REFUSED_STATUS if ending.result == "refused" else 0


def _options(settings: RetrainSettings) -> Options:
    recipe = Recipe(
        model=settings.model,
        backbone=settings.backbone,
        weights=settings.weights,
        prototypes_only=settings.prototypes_only,
        minutes=settings.minutes,
        fit_steps=settings.steps,
        size=settings.size,
        seed=settings.seed,
        false_reject_rate=settings.false_reject_rate,
        max_normals=settings.max_normals,
        textures=settings.textures,
        device=settings.device,
        start=settings.start,
        plan=settings.plan,
    )
    redis = Redis(
        url=settings.redis_url,
        username=settings.redis_username,
        password=settings.password(),
        state_dir=settings.state_dir,
    )
    return Options(
        store=settings.store,
        registry=settings.registry,
        runs=settings.runs,
        recipe=recipe,
        lines=tuple(settings.line),
        archive=settings.archive,
        redis=redis,
        collect_only=settings.collect_only,
        promote=not settings.no_promote,
        allow_ungated=settings.allow_ungated,
        again=settings.again,
    )


def _announce(line: str, redis: Redis) -> int:
    return announce(
        line,
        redis_url=redis.url,
        username=redis.username,
        password=redis.password,
        state_dir=redis.state_dir,
    )


def _tell(console: Console, ending: Ending, settings: RetrainSettings) -> None:
    if settings.as_json:
        fields = {
            "result": ending.result,
            "why": ending.why,
            "run": str(ending.run) if ending.run else None,
            "version": ending.version,
        }
        sys.stdout.write(json.dumps(fields) + "\n")
        return
    style = {"promoted": "bold green", "refused": "bold red"}.get(ending.result, "")
    console.print(f"{ending.result}: {ending.why}", style=style, soft_wrap=True, markup=False)
    if ending.run is not None:
        console.print(f"all of it lies in {ending.run}", soft_wrap=True, markup=False)
