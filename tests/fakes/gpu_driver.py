"""The NVIDIA driver's library with GPUs that nobody has."""

# ruff: noqa: ANN401, N802  # the names of the driver, and references of ctypes

import ctypes
from collections.abc import Sequence
from typing import Any

NOT_INITIALISED = 3


class FakeDriver:
    """What `ctypes.CDLL("libcuda.so.1")` is on a machine with these GPUs."""

    # ruff: noqa: ANN401, N802  # the names of the driver, and references of ctypes

    def __init__(self, names: Sequence[str] = (), status: int = 0) -> None:
        self._names = names
        self._status = status  # of the start

    def cuInit(self, _flags: int) -> int:
        return self._status

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self._names)
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, _size: int, device: ctypes.c_int) -> int:
        name.value = self._names[device.value].encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, _device: ctypes.c_int) -> int:
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = f"error number {status}".encode()
        return 0
