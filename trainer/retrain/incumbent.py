"""The engine in force, fetched from the registry, and the weights that training starts from."""

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
    """Fetch the version that lines serve: the one in force, or its predecessor if it was refused.

    Returns: None if nothing was ever promoted.

    Raises:
        RegistryError: the registry cannot be read, or its content is broken.
        DatasetError: the version was trained with zones.
    """
    pointer = registry.standing()
    if pointer is None:
        return None
    engine = registry.fetch(pointer.promoted, runs / _FOLDER)
    manifest = read_manifest(engine)
    if manifest.zones is not None:
        raise DatasetError(
            f"{pointer.promoted} was trained with zones, which a retrain does not support: the new "
            "engine would inspect the whole picture; train with trainer-train --zones"
        )
    return Incumbent(pointer.promoted, engine, manifest)


def find_start(
    incumbent: Incumbent | None, registry: Registry, recipe: CandidateRecipe, runs: Path
) -> tuple[Path | None, str]:
    """Find the head that training starts from, and a sentence about it.

    Raises:
        RegistryError: the registry is unreachable, or its copy of the head is broken.
    """
    if recipe.model == "protoad":
        return None, "protoad has no head"
    if recipe.start is not None:
        return recipe.start, f"starts from {recipe.start}"
    if incumbent is None:
        return None, "starts from scratch: no engine is in force"
    if other := _differs(incumbent, recipe):
        return None, f"starts from scratch: {other}"
    head = _from_registry(incumbent, registry) or _from_run(incumbent, runs)
    if head is None:
        return None, (
            "starts from scratch: neither the registry nor the runs hold the head of "
            f"{incumbent.name}"
        )
    return head, f"starts from the head of {incumbent.name}"


def _differs(incumbent: Incumbent, recipe: CandidateRecipe) -> str:
    """Return how the incumbent is another kind of network; "" if it is the same kind."""
    manifest = incumbent.manifest
    if manifest.model != recipe.model:
        return f"{incumbent.name} is {manifest.model}, but {recipe.model} is wanted"
    backbone = manifest.settings.get("backbone")
    if backbone != recipe.backbone:
        return f"{incumbent.name} uses the backbone {backbone}, but {recipe.backbone} is wanted"
    return ""


def _from_registry(incumbent: Incumbent, registry: Registry) -> Path | None:
    kept = incumbent.engine.parent / HEAD_NAME
    try:
        write_atomic(kept, registry.read(incumbent.name, HEAD_NAME))
    except UnknownVersion:
        return None  # added by hand, or the head is too large for the registry
    return kept


def _from_run(incumbent: Incumbent, runs: Path) -> Path | None:
    for run in past_runs(runs):
        outcome = run.outcome("register")
        if outcome and outcome.get("version") == incumbent.name:
            head = run.folder / HEAD_NAME
            return head if head.is_file() else None
    return None
