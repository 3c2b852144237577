"""What a network learned, as a file: all but the frozen encoder; safetensors, whole or not at all.

`network.safetensors` stays in the run folder: a run that was killed builds its network from it
again, without looking at pictures. `head.safetensors` goes into the registry with the engine: the
next training begins from it. A training's own checkpoint serves for that too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from engines.files import file_sha256, write_atomic
from trainer.errors import CheckpointError
from trainer.networks.backbones import read_tensors
from trainer.networks.prn import PRN, Head

NETWORK_NAME, HEAD_NAME = "network.safetensors", "head.safetensors"
_USUAL = ".usual"  # ends the names of what is measured on prototypes, not learned
_AVERAGE = "average/"  # begins the names of a checkpoint's averaged weights


@dataclass(frozen=True, slots=True)
class StartWeights:
    """Weights of a head to begin from."""

    tensors: Mapping[str, Tensor]
    sha256: str  # of their file
    source: str  # for people


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, replacing what was there."""
    content = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    write_atomic(path, safetensors.torch.save(content))


def learned_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Take all but the encoder from a network."""
    state = network.state_dict()
    return {name: each for name, each in state.items() if not name.startswith("encoder.")}


def restore(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load what `learned_tensors` took into a network of the same sizes.

    Raises:
        CheckpointError: they are of another network.
    """
    try:
        missing, unexpected = network.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this network: {error}") from error
    lacking = [name for name in missing if not name.startswith("encoder.")]
    if lacking or unexpected:
        raise CheckpointError(
            f"{path} is of another network: it lacks {lacking[:3]}, it has {unexpected[:3]} besides"
        )


def write_head(path: Path, network: PRN) -> None:
    """Write the learned weights of a head."""
    state = network.head.state_dict()
    write_tensors(path, {name: each for name, each in state.items() if not name.endswith(_USUAL)})


def read_start(path: Path) -> StartWeights:
    """Read weights to begin from: `head.safetensors`, or a training's checkpoint.

    Raises:
        WeightsError: unreadable.
    """
    tensors = read_tensors(path)
    averaged = {
        name.removeprefix(_AVERAGE): each
        for name, each in tensors.items()
        if name.startswith(_AVERAGE) and not name.endswith(_USUAL)
    }
    return StartWeights(averaged or tensors, file_sha256(path), str(path))


def begin_from(head: Head, start: StartWeights) -> None:
    """Load the weights to begin from into a head; what is measured on prototypes stays as it is.

    Raises:
        CheckpointError: they are of another kind of head.
    """
    wanted = {name: each for name, each in head.state_dict().items() if not _counts(name)}
    for name, tensor in wanted.items():
        got = list(start.tensors[name].shape) if name in start.tensors else None
        if got != list(tensor.shape):
            raise CheckpointError(
                f"{start.source} does not fit: {name} is {got or 'missing'}, wanted "
                f"{list(tensor.shape)}: it is of another network, backbone or set of parts"
            )
    head.load_state_dict({name: start.tensors[name] for name in wanted}, strict=False)


def _counts(name: str) -> bool:
    """Tell what is no weight: usual sizes, and the counters of batch norms."""
    return name.endswith((_USUAL, "num_batches_tracked"))
