"""What trains: a GPU if there is one, or what is asked for, in the precision that is faster."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from engines.files import read_file, write_atomic
from trainer.errors import CheckpointError, DeviceError

PRECISION_NAME = "precision.json"
_MAX_PRECISION_BYTES = 1 << 10
Precision = Literal["fp32", "bf16"]
_TRIALS = 5
_GAIN = 0.8  # of float32's time: less is not worth the lost bits
_PRECISION: TypeAdapter[Precision] = TypeAdapter(Precision)


def find_device(name: str) -> torch.device:
    """Find what trains.

    Raises:
        DeviceError: there is no such GPU, or torch cannot use one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        built = (
            f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        )
        raise DeviceError(
            f"--device {name}: torch {torch.__version__}, built {built}, finds {count} GPUs: take "
            "--device cpu, or install a build of torch for this machine's driver"
        )
    return device


def kept_precision(folder: Path, clock: Callable[[], float]) -> Precision:
    """Take the precision that the run in `folder` began with; of a new one, time and keep it.

    Raises:
        CheckpointError: what was kept is no precision.
    """
    path = folder / PRECISION_NAME
    try:
        return _PRECISION.validate_json(read_file(path, _MAX_PRECISION_BYTES))
    except FileNotFoundError:
        found = faster_precision(clock)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _PRECISION.dump_json(found))
        return found
    except ValidationError as error:
        raise CheckpointError(
            f"{path} holds no precision: remove it, or give --precision"
        ) from error


def faster_precision(clock: Callable[[], float]) -> Precision:
    """Time a wide convolution, forward and backward, both ways; `clock` gives seconds."""
    seconds = {kind: min(_timed(kind, clock) for _ in range(_TRIALS)) for kind in ("fp32", "bf16")}
    return "bf16" if seconds["bf16"] < _GAIN * seconds["fp32"] else "fp32"


def _timed(precision: str, clock: Callable[[], float]) -> float:
    convolution = nn.Conv2d(64, 64, 3, padding=1)
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.zeros(4, 64, 64, 64).to(memory_format=torch.channels_last)
    started = clock()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        answer = convolution(images).float().sum()
    torch.autograd.grad(answer, list(convolution.parameters()))
    return clock() - started
