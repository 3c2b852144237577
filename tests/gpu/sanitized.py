"""A small call of every kernel, for compute-sanitizer: `sanitized.py LIBRARY`.

It takes memory from the driver, one allocation an array, so that an address past an array's end is
seen; torch's allocator would hide it, and torch under the sanitizer takes minutes to start.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.residual.launcher import OutputPointers, ResidualKernel, Scale
from engines.residual.reference import prototype_residual

SCALES = [(4096, 33), (2051, 3), (300, 1)]  # elements, prototypes: whole slices, ragged ones, tiny
BATCHES = (1, 9)
CLOSE = 1e-4


class Driver:
    """Memory of the first GPU, through libcuda."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL(os.environ.get("PRN_LIBCUDA", "libcuda.so.1"))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def put(self, values: NDArray[np.generic]) -> int:
        given = np.ascontiguousarray(values)
        pointer = self.allocate(given.nbytes)
        source = ctypes.c_void_p(given.ctypes.data)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), source, _size(given))
        return pointer

    def take(self, pointer: int, into: NDArray[np.generic]) -> NDArray[np.generic]:
        target = ctypes.c_void_p(into.ctypes.data)
        self._call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(pointer), _size(into))
        return into

    def free(self, pointers: Sequence[int]) -> None:
        for pointer in pointers:
            self._call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def synchronize(self) -> None:
        self._call("cuCtxSynchronize")

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._cuda, name)(*arguments)
        if status != 0:
            sys.exit(f"{name} gave CUDA error {status}")


def _size(values: NDArray[np.generic]) -> ctypes.c_size_t:
    return ctypes.c_size_t(values.nbytes)


def call_once(driver: Driver, kernel: ResidualKernel, batch: int, kind: type) -> None:
    """Call with all scales at once, and compare the distances and residuals."""
    rng = np.random.default_rng(1)
    features = [rng.normal(0.5, 1, (batch, elements)).astype(kind) for elements, _ in SCALES]
    prototypes = [rng.normal(0.5, 1, (count, elements)).astype(kind) for elements, count in SCALES]
    scales = [
        Scale(
            driver.put(feature),
            driver.put(prototype),
            driver.allocate(feature.nbytes),
            feature.shape[1],
            len(prototype),
        )
        for feature, prototype in zip(features, prototypes, strict=True)
    ]
    answers = len(SCALES) * batch
    size = kernel.workspace_bytes(scales, batch)
    index, distance, space = (driver.allocate(each) for each in (4 * answers, 4 * answers, size))
    kernel.launch(scales, batch, kind, OutputPointers(index, distance, space, size), 0)
    driver.synchronize()
    found = driver.take(distance, np.empty((batch, len(SCALES)), np.float32))
    chosen = driver.take(index, np.empty((batch, len(SCALES)), np.int32))
    for place, scale in enumerate(scales):
        wide, wanted = features[place].astype(np.float32), prototypes[place].astype(np.float32)
        residual, numbers, far = prototype_residual(wide, wanted)
        got = driver.take(scale.residual, np.empty_like(features[place]))
        right = (
            np.array_equal(chosen[:, place], numbers)
            and np.allclose(found[:, place], far, rtol=CLOSE)
            and np.array_equal(got, residual.astype(kind))
        )
        if not right:
            sys.exit(f"wrong answer: scale {place}, batch {batch}, {kind.__name__}")
    maps = [pointer for each in scales for pointer in (each.features, each.prototypes)]
    driver.free([*maps, *(each.residual for each in scales), index, distance, space])


def main() -> None:
    driver, kernel = Driver(), ResidualKernel(Path(sys.argv[1]))
    for kind in (np.float32, np.float16):
        for batch in BATCHES:
            call_once(driver, kernel, batch, kind)
    sys.stdout.write("every kernel answered\n")


if __name__ == "__main__":
    main()
