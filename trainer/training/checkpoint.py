"""Checkpoints of a training: one safetensors file, written whole or not at all, no pickle.

The tensors are those of the trained module, of its moving average and of the optimiser; what else
a training must know to go on stands as JSON in the file's header, so the two cannot disagree.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from engines.files import write_atomic
from trainer.errors import CheckpointError

Value = str | int | float | bool | None
Configuration = Mapping[str, Value]
_HEADER = "training"
CONTENT = "content."  # begins the names of what is known by its hash


@dataclass(frozen=True, slots=True)
class ValidationLoss:
    """What the held-out pictures said after `step` steps."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands, besides its tensors."""

    configuration: dict[str, Value]
    step: int  # steps done
    total: int  # steps planned
    cut: int | None  # step at which it was decided to stop early
    checks: tuple[ValidationLoss, ...]


_PROGRESS = TypeAdapter(Progress)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Write both, replacing what was there."""
    header = {_HEADER: json.dumps(asdict(progress))}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(contiguous, header))


def read_checkpoint(
    path: Path, configuration: Configuration
) -> tuple[dict[str, Tensor], Progress] | None:
    """Read both; None where there is no checkpoint.

    Raises:
        CheckpointError: unreadable, or of a training of another configuration.
    """
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            progress = _PROGRESS.validate_json((file.metadata() or {}).get(_HEADER, ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, ValidationError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint that can be read ({error}): remove it to start again"
        ) from error
    _check_configuration(path, progress.configuration, configuration)
    return tensors, progress


def _check_configuration(path: Path, found: Configuration, wanted: Configuration) -> None:
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            if name.startswith(CONTENT):
                raise CheckpointError(_of_other_content(path, name.removeprefix(CONTENT)))
            raise CheckpointError(
                f"{path} is of another training: its {name} is {found.get(name)!r}, wanted is "
                f"{wanted.get(name)!r}: train with the same settings to go on, or remove it"
            )


def _of_other_content(path: Path, what: str) -> str:
    return (
        f"{path} is of another training: the {what} are not those that it began with, or an older "
        "version did not note them: give the same ones to go on, or remove it to begin anew"
    )
