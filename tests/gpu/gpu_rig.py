"""The compiled kernel on a device, called with torch's memory.

`cuda` is what nvcc makes for this machine's GPU. `cpu` is the same source as unit/kernel_runs
compiles it: it proves these programs where no GPU is, and its times say nothing.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from fakes.kernel_runs import Run, compile_for_cpu
from torch import Tensor

from engines.residual.compile_kernel import CompiledKernel, compile_kernel, find_nvcc
from engines.residual.launcher import OutputPointers, ResidualKernel, Scale

GUARD = 64  # elements on either side of an array that nobody may write
ELEMENT_TYPES = {torch.float32: np.float32, torch.float16: np.float16}
BITS = {4: torch.int32, 2: torch.int16, 1: torch.uint8}


class Allow(Protocol):
    """Tells the run on a CPU what the kernel may touch."""

    def __call__(self, arrays: Sequence["Guarded"]) -> None: ...


@dataclass(frozen=True)
class Rig:
    device: torch.device
    kernel: ResidualKernel
    allow: Allow

    @property
    def has_gpu(self) -> bool:
        return self.device.type == "cuda"

    def stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream if self.has_gpu else 0

    def synchronize(self) -> None:
        if self.has_gpu:
            torch.cuda.synchronize()


def open_rig(device: str, folder: Path) -> Rig:
    """Compile, unless `folder` has it already, and load.

    Raises:
        LookupError: torch finds no GPU.
        BackendError: nvcc is missing or refuses.
    """
    if device == "cpu":
        compiler = os.environ.get("CXX", "g++")
        made = folder / "residual_on_cpu.so"
        library = made if made.is_file() else compile_for_cpu(folder, compiler)
        return Rig(torch.device("cpu"), ResidualKernel(library), _allower(library))
    library = compile_for_this_gpu(folder).library
    return Rig(torch.device("cuda"), ResidualKernel(library), lambda _arrays: None)


def compile_for_this_gpu(folder: Path) -> CompiledKernel:
    """Compile for the first GPU alone, which takes seconds instead of a minute."""
    if not torch.cuda.is_available():
        raise LookupError("no NVIDIA GPU that this torch can use")
    major, minor = torch.cuda.get_device_capability()
    return compile_kernel(folder, find_nvcc(os.environ), architectures=[10 * major + minor])


def _allower(library: Path) -> Allow:
    handle = ctypes.CDLL(str(library))

    def allow(arrays: Sequence[Guarded]) -> None:
        handle.cpu_allow(
            (ctypes.c_void_p * len(arrays))(*(each.values.data_ptr() for each in arrays)),
            (ctypes.c_longlong * len(arrays))(*(each.values.nbytes for each in arrays)),
            len(arrays),
        )

    return allow


class Guarded:
    """A copy of a tensor with guards on both sides, `shift` elements past 16 bytes."""

    def __init__(self, values: Tensor, fill: float, shift: int = 0) -> None:
        self._start = GUARD + shift  # torch's memory begins at a multiple of 64 bytes
        size = values.numel() + 2 * GUARD + shift
        self._all = torch.full((size,), fill, dtype=values.dtype, device=values.device)
        end = self._start + values.numel()
        self.values = self._all[self._start : end].view(values.shape)
        self.values.copy_(values)
        self._wanted = self._bits[0].item()  # a GPU's NaN has other bits than a CPU's

    def is_intact(self) -> bool:
        """Return whether the guards are as they were, to the bit."""
        before = self._bits[: self._start]
        behind = self._bits[self._start + self.values.numel() :]
        return bool((before == self._wanted).all() and (behind == self._wanted).all())

    @property
    def _bits(self) -> Tensor:
        return self._all.view(BITS[self._all.itemsize])


class BoundCall:
    """A call of the kernel with all its arrays, which it owns; can be made many times."""

    def __init__(
        self, rig: Rig, features: Sequence[Tensor], prototypes: Sequence[Tensor], shift: int = 0
    ) -> None:
        """Copy features [N, D] and prototypes [K, D] of all scales to guarded memory."""
        nan, count, scales = float("nan"), len(features[0]), len(features)
        device = {"device": rig.device}
        self._rig, self._batch = rig, count
        self._element = ELEMENT_TYPES[features[0].dtype]
        self.features = [Guarded(each.to(rig.device), nan, shift) for each in features]
        self.prototypes = [Guarded(each.to(rig.device), nan, shift) for each in prototypes]
        self.residuals = [
            Guarded(torch.full_like(each.values, nan), nan, shift) for each in self.features
        ]
        self.index = Guarded(torch.full((count, scales), -1, dtype=torch.int32, **device), -7)
        self.distance = Guarded(torch.full((count, scales), nan, **device), nan)
        self._scales = [
            Scale(
                feature.values.data_ptr(),
                prototype.values.data_ptr(),
                residual.values.data_ptr(),
                feature.values.shape[1],
                len(prototype.values),
            )
            for feature, prototype, residual in zip(
                self.features, self.prototypes, self.residuals, strict=True
            )
        ]
        needed = rig.kernel.workspace_bytes(self._scales, count)
        dirty = torch.full((needed,), 0xFF, dtype=torch.uint8, **device)
        self.workspace = Guarded(dirty, 0xFF)
        self._pointers = OutputPointers(
            self.index.values.data_ptr(),
            self.distance.values.data_ptr(),
            self.workspace.values.data_ptr(),
            needed,
        )

    @property
    def arrays(self) -> list[Guarded]:
        """All that the kernel may touch."""
        given = [*self.features, *self.prototypes, *self.residuals]
        return [*given, self.index, self.distance, self.workspace]

    def launch(self) -> None:
        """Enqueue on the current stream."""
        self._rig.allow(self.arrays)
        self._rig.kernel.launch(
            self._scales, self._batch, self._element, self._pointers, self._rig.stream()
        )

    def forget(self) -> None:
        """Overwrite the last answers, so that the next must be made anew."""
        for each in (*self.residuals, self.distance):
            each.values.fill_(float("nan"))
        self.index.values.fill_(-1)

    def answer(self) -> Run:
        """Wait, look at the guards, and copy what the kernel answered."""
        self._rig.synchronize()
        assert all(each.is_intact() for each in self.arrays)
        residuals = [each.values.cpu().numpy().copy() for each in self.residuals]
        index, distance = self.index.values.cpu().numpy(), self.distance.values.cpu().numpy()
        return Run(residuals, index.copy(), distance.copy())

    def run(self) -> Run:
        self.launch()
        return self.answer()


def drawn(
    rig: Rig, sizes: Sequence[tuple[int, int]], batch: int, kind: torch.dtype, seed: int = 1
) -> BoundCall:
    """Draw features and prototypes of (elements, prototypes) for each scale on the device."""
    dice = torch.Generator(rig.device).manual_seed(seed)

    def maps(rows: int, elements: int) -> Tensor:
        plain = torch.randn(rows, elements, generator=dice, device=rig.device)
        return (plain + 0.5).to(kind)

    features = [maps(batch, elements) for elements, _ in sizes]
    return BoundCall(rig, features, [maps(count, elements) for elements, count in sizes])


Captured = Callable[[], None]


def captured(calls: Sequence[Callable[[], object]]) -> Captured:
    """Capture calls into one CUDA graph, after they ran once; returns its replay."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay
