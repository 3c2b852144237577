"""A network's learned weights, without the frozen encoder, as a safetensors file.

`network.safetensors` stays in the run folder: a run that was killed rebuilds its network from it
without reading pictures. `head.safetensors` goes into the registry with the engine: the next
training starts from it. A training's checkpoint can be used for that too.
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
_USUAL = ".usual"  # suffix of values that are measured on prototypes, not learned
_AVERAGE = "average/"  # prefix of a checkpoint's averaged weights


@dataclass(frozen=True, slots=True)
class StartWeights:
    """Weights of a head to start from."""

    tensors: Mapping[str, Tensor]
    sha256: str  # of their file
    source: str  # for people


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, replacing the file."""
    content = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    write_atomic(path, safetensors.torch.save(content))


def learned_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a network except the encoder's."""
    state = network.state_dict()
    return {name: each for name, each in state.items() if not name.startswith("encoder.")}


def restore(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors of `learned_tensors` into a network of the same sizes.

    Raises:
        CheckpointError: the tensors are of another network.
    """
    try:
        missing, unexpected = network.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this network: {error}") from error
    lacking = [name for name in missing if not name.startswith("encoder.")]
    if lacking or unexpected:
        raise CheckpointError(
            f"{path} is of another network: missing {lacking[:3]}, unexpected {unexpected[:3]}"
        )


def write_head(path: Path, network: PRN) -> None:
    """Write the learned weights of a head."""
    state = network.head.state_dict()
    write_tensors(path, {name: each for name, each in state.items() if not name.endswith(_USUAL)})


def read_start(path: Path) -> StartWeights:
    """Read weights to start from: `head.safetensors`, or a training's checkpoint.

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
    """Load starting weights into a head; values measured on prototypes stay as they are.

    Raises:
        CheckpointError: the weights are of another kind of head.
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
    """Return whether a tensor is not a weight: a usual size, or a counter of a batch norm."""
    return name.endswith((_USUAL, "num_batches_tracked"))
