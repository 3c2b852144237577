"""`kernel.cu` run on the CPU: its own code, compiled against the headers in kernel_on_cpu."""

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.engine import Floats, Indices
from engines.residual.compile_kernel import SOURCE
from engines.residual.launcher import OutputPointers, ResidualKernel, Scale

HEADERS = Path(__file__).parents[1] / "kernel_on_cpu"
FORWARDS, BACKWARDS, SHUFFLED = range(3)
# Every operation rounds by itself, as on the GPU; longjmp between fibers is no stack overflow.
FLAGS = (
    *("-x", "c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off"),
    *("-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),
    "-Werror",
)
VECTOR = 16  # bytes
GUARD = 64  # elements on either side of an array that nobody may read or write

Maps = NDArray[np.floating]  # [N, D] or [K, D], float32 or float16


def compile_for_cpu(folder: Path, compiler: str) -> Path:
    library = folder / "residual_on_cpu.so"
    command = [compiler, *FLAGS, f"-I{HEADERS}", str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return library


@dataclass(frozen=True)
class Run:
    """What the kernel answered."""

    residuals: list[Maps]  # a scale each
    index: Indices  # [N, S]
    distance: Floats  # [N, S]

    def same_bits(self, other: "Run", pictures: Sequence[int] | None = None) -> bool:
        """Return whether `other` holds these pictures' answers, to the last bit."""
        chosen = list(range(len(self.index)) if pictures is None else pictures)
        mine = [residual[chosen] for residual in self.residuals]
        return (
            np.array_equal(self.index[chosen], other.index)
            and self.distance[chosen].tobytes() == other.distance.tobytes()
            and [each.tobytes() for each in mine] == [each.tobytes() for each in other.residuals]
        )


@dataclass
class Guarded:
    """An array with guards on both sides, `shift` elements past a multiple of 16 bytes."""

    values: NDArray[np.generic]
    fill: float
    shift: int = 0
    _all: NDArray[np.generic] = field(init=False)

    def __post_init__(self) -> None:
        given = self.values
        spare = VECTOR // given.itemsize
        self._all = np.full(given.size + 2 * GUARD + spare, self.fill, given.dtype)
        past = self._all.ctypes.data % VECTOR // given.itemsize
        start = GUARD + (spare - past) % spare + self.shift
        self.values = self._all[start : start + given.size].reshape(given.shape)
        self.values[...] = given

    @property
    def pointer(self) -> int:
        return self.values.ctypes.data

    def is_intact(self) -> bool:
        """Return whether the guards are as they were."""
        start = (self.pointer - self._all.ctypes.data) // self._all.itemsize
        outside = np.delete(self._all, slice(start, start + self.values.size))
        wanted = np.full_like(outside, self.fill)
        return outside.tobytes() == wanted.tobytes()


class KernelOnCpu:
    def __init__(self, library: Path) -> None:
        self.kernel = ResidualKernel(library)
        handles = ctypes.CDLL(str(library))
        self._set_order, self._allow = handles.cpu_set_order, handles.cpu_allow

    def run(
        self,
        features: Sequence[Maps],
        prototypes: Sequence[Maps],
        orders: tuple[int, int, int] = (FORWARDS, FORWARDS, 0),
        shift: int = 0,
        allowed: int | None = None,
    ) -> Run:
        """Run all scales at once.

        Args:
            features: [N, D], a scale each.
            prototypes: [K, D], a scale each.
            orders: of the blocks, of the threads in a block, and the seed of SHUFFLED ones.
            shift: elements by which every map misses a multiple of 16 bytes.
            allowed: arrays that the kernel may touch, of all.
        """
        count, scales = len(features[0]), len(features)
        given = [Guarded(each, np.nan, shift) for each in (*features, *prototypes)]
        residuals = [Guarded(np.full_like(each, np.nan), np.nan, shift) for each in features]
        index = Guarded(np.full((count, scales), -1, np.int32), -7)
        distance = Guarded(np.full((count, scales), np.nan, np.float32), np.nan)
        pointers = [
            Scale(
                given[scale].pointer,
                given[scales + scale].pointer,
                residuals[scale].pointer,
                features[scale].shape[1],
                len(prototypes[scale]),
            )
            for scale in range(scales)
        ]
        needed = self.kernel.workspace_bytes(pointers, count)
        workspace = Guarded(np.full(needed, 0xFF, np.uint8), 0xFF)  # dirty on purpose
        answers = OutputPointers(index.pointer, distance.pointer, workspace.pointer, needed)
        guards = (*given, *residuals, index, distance, workspace)
        self._set_order(*orders)
        self._allow(
            (ctypes.c_void_p * len(guards))(*(each.pointer for each in guards)),
            (ctypes.c_longlong * len(guards))(*(each.values.nbytes for each in guards)),
            len(guards) if allowed is None else allowed,
        )
        self.kernel.launch(pointers, count, features[0].dtype, answers, stream=0)
        assert all(each.is_intact() for each in guards)
        return Run([each.values for each in residuals], index.values, distance.values)
