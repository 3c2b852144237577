"""Names and properties of this machine and its GPUs; needs only the NVIDIA driver."""

import ctypes
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import BackendError, NoDriver

_CPU_TABLE = Path("/proc/cpuinfo")
_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES = 256
_STATUS = Path("/proc/self/status")


def machine_name() -> str:
    """Return processor, usable cores and system in one line."""
    return f"{_processor()}, {usable_cores()} cores, {platform.system()} {platform.machine()}"


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mb() -> float:
    """Return the most memory that this process has held so far, megabytes of 10^6 bytes.

    On Linux, `getrusage` includes the process that started this one, so a small program started by
    a large one would seem large. The status file does not have this flaw.
    """
    if _STATUS.is_file():
        lines = _STATUS.read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
    import resource  # noqa: PLC0415  # not on Windows

    unit = 1 if platform.system() == "Darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _processor() -> str:
    if _CPU_TABLE.is_file():
        for line in _CPU_TABLE.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine."""

    name: str
    capability: tuple[int, int]  # (major, minor)
    driver: int  # CUDA version that the driver supports, 1000 * major + 10 * minor

    @property
    def target(self) -> str:
        """The architecture as nvcc names it: sm_89."""
        return "sm_{}{}".format(*self.capability)


def find_gpu(index: int = 0, load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """Ask the driver for GPU `index`.

    Raises:
        NoDriver: this machine has no NVIDIA driver.
        BackendError: the driver does not start, or there is no such GPU.
    """
    driver, version, count = _start_driver(load)
    if index >= count:
        raise BackendError(f"GPU {index} was requested, but this machine has {count}")
    return _gpu(driver, index, version)


def list_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> list[Gpu]:
    """Ask the driver for all GPUs of this machine.

    Args:
        load: a function that opens the driver's library by name.

    Raises:
        NoDriver: this machine has no NVIDIA driver.
        BackendError: the driver does not start, or does not answer.
    """
    driver, version, count = _start_driver(load)
    return [_gpu(driver, index, version) for index in range(count)]


def _start_driver(load: Callable[[str], Any]) -> tuple[Any, int, int]:
    """Return the driver's library, the CUDA version that it supports, and how many GPUs it has."""
    try:
        driver = load(_LIBRARY)
    except OSError as error:
        raise NoDriver(
            f"no NVIDIA driver on this machine ({_LIBRARY} is not found): install the driver, or "
            "in a container start it with access to the GPU"
        ) from error
    _check(driver, driver.cuInit(0), "the NVIDIA driver does not start")
    version, count = ctypes.c_int(), ctypes.c_int()
    _check(driver, driver.cuDriverGetVersion(ctypes.byref(version)), "no driver version")
    _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)), "the GPUs cannot be counted")
    return driver, version.value, count.value


def _gpu(driver: Any, index: int, version: int) -> Gpu:  # noqa: ANN401  # a library of ctypes
    device = ctypes.c_int()
    _check(driver, driver.cuDeviceGet(ctypes.byref(device), index), f"no GPU {index}")
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(driver, driver.cuDeviceGetName(name, _NAME_BYTES, device), f"GPU {index} has no name")
    major, minor = (_attribute(driver, each, device) for each in (_MAJOR, _MINOR))
    return Gpu(name.value.decode("utf-8", "replace"), (major, minor), version)


def _attribute(driver: Any, attribute: int, device: ctypes.c_int) -> int:  # noqa: ANN401
    value = ctypes.c_int()
    status = driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    _check(driver, status, f"the driver does not report attribute {attribute}")
    return value.value


def _check(driver: Any, status: int, what: str) -> None:  # noqa: ANN401
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        reason = text.value.decode("utf-8", "replace") if text.value else f"CUDA error {status}"
        raise BackendError(f"{what}: {reason}")
