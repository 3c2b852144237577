"""What trains: a GPU where there is one, or what is asked for."""

import torch

from trainer.errors import DeviceError


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
