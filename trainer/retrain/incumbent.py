"""The engine in force: fetched from the registry, with what the next training begins from."""

from dataclasses import dataclass
from pathlib import Path

from engines.errors import UnknownVersion
from engines.files import write_atomic
from engines.manifest import Manifest, read_manifest
from engines.registry.registry import Registry
from trainer.errors import DatasetError
from trainer.retrain.run import past_runs
from trainer.retrain.weights import HEAD_NAME
from trainer.retrain_settings import CandidateRecipe

_FOLDER = "incumbents"  # in the runs' folder


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A local copy of the version in force."""

    name: str
    engine: Path
    manifest: Manifest


def fetch_incumbent(registry: Registry, runs: Path) -> Incumbent | None:
    """Fetch what lines serve: what is in force, or the one before where they refused that.

    Returns: None where nothing was ever promoted.

    Raises:
        RegistryError: it cannot be read, or is broken.
        DatasetError: it was trained with zones.
    """
    pointer = registry.standing()
    if pointer is None:
        return None
    engine = registry.fetch(pointer.promoted, runs / _FOLDER)
    manifest = read_manifest(engine)
    if manifest.zones is not None:
        raise DatasetError(
            f"{pointer.promoted} was trained with zones, and a retrain knows none: its engine "
            "would inspect the whole picture; train with trainer-train --zones"
        )
    return Incumbent(pointer.promoted, engine, manifest)


def find_start(
    incumbent: Incumbent | None, registry: Registry, recipe: CandidateRecipe, runs: Path
) -> tuple[Path | None, str]:
    """Find the head that training begins from, or say why there is none.

    Raises:
        RegistryError: it is away, or the head there is broken.
    """
    if recipe.model == "protoad":
        return None, "protoad has no head"
    if recipe.start is not None:
        return recipe.start, f"begins from {recipe.start}"
    if incumbent is None:
        return None, "begins afresh: no engine is in force"
    if other := _differs(incumbent, recipe):
        return None, f"begins afresh: {other}"
    head = _from_registry(incumbent, registry) or _from_run(incumbent, runs)
    if head is None:
        return None, f"begins afresh: neither registry nor runs hold a head of {incumbent.name}"
    return head, f"begins from the head of {incumbent.name}"


def _differs(incumbent: Incumbent, recipe: CandidateRecipe) -> str:
    """Say in what the incumbent is another kind of network; nothing where it is the same."""
    manifest = incumbent.manifest
    if manifest.model != recipe.model:
        return f"{incumbent.name} is {manifest.model}, wanted is {recipe.model}"
    backbone = manifest.settings.get("backbone")
    if backbone != recipe.backbone:
        return f"{incumbent.name} stands on {backbone}, wanted is {recipe.backbone}"
    return ""


def _from_registry(incumbent: Incumbent, registry: Registry) -> Path | None:
    kept = incumbent.engine.parent / HEAD_NAME
    try:
        write_atomic(kept, registry.read(incumbent.name, HEAD_NAME))
    except UnknownVersion:
        return None  # it was added by hand, or its head is too large for the registry
    return kept


def _from_run(incumbent: Incumbent, runs: Path) -> Path | None:
    for run in past_runs(runs):
        outcome = run.outcome("register")
        if outcome and outcome.get("version") == incumbent.name:
            head = run.folder / HEAD_NAME
            return head if head.is_file() else None
    return None
