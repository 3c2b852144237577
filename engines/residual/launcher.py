"""The compiled kernel as Python calls it: pointers and a stream in, work enqueued."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from engines.errors import BackendError, ScoringError, ShapeError

VERSION = 1  # of the library's functions

_ELEMENT_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale's maps, row-major on the device, borrowed until the stream has done the work."""

    features: int  # pointer to [N, elements]
    prototypes: int  # pointer to [prototypes_count, elements]
    residual: int  # pointer to [N, elements], written
    elements: int
    prototypes_count: int


@dataclass(frozen=True, slots=True)
class OutputPointers:
    """Where the answers go, on the device, and scratch for making them."""

    index: int  # pointer to int32 [N, scales]
    distance: int  # pointer to float32 [N, scales]
    workspace: int  # pointer, at a multiple of 16 bytes; nothing in it is kept between calls
    workspace_bytes: int


class ResidualKernel:
    """A library that `compile_kernel` made."""

    def __init__(self, library: Path) -> None:
        """Load it.

        Raises:
            BackendError: it does not load, or is not of this version.
        """
        try:
            self._library = _declared(ctypes.CDLL(str(library.resolve())))
        except (OSError, AttributeError) as error:
            raise BackendError(f"{library} is no residual kernel ({error}): compile it") from error
        found = self._library.prn_residual_version()
        if found != VERSION:
            raise BackendError(f"{library} has version {found}, want {VERSION}: compile it again")

    def workspace_bytes(self, scales: Sequence[Scale], batch: int) -> int:
        """Say how much scratch a call wants; the scales' pointers do not matter.

        Raises:
            ShapeError: no call can have these sizes.
        """
        needed: int = self._library.prn_residual_workspace_bytes(
            _as_structs(scales), len(scales), batch
        )
        if needed < 0:
            raise ShapeError(self._reason(needed))
        return needed

    def launch(
        self,
        scales: Sequence[Scale],
        batch: int,
        element_type: DTypeLike,
        pointers: OutputPointers,
        stream: int,
    ) -> None:
        """Enqueue the operator on `stream`, of the current context; returns before it is done.

        Args:
            scales: 1 to 4, each with 1 to 256 prototypes.
            batch: N, at least 1.
            element_type: of features, prototypes and residuals: float32 or float16.
            pointers: where index and distance go.
            stream: CUDA's handle; 0 is the default stream.

        Raises:
            ShapeError: the kernel does not take these sizes or this type.
            ScoringError: CUDA refused the launch.
        """
        kind = np.dtype(element_type)
        if kind not in _ELEMENT_TYPES:
            raise ShapeError(f"maps of {kind}: the kernel takes float32 or float16")
        code = self._library.prn_residual_launch(
            _as_structs(scales),
            len(scales),
            batch,
            _ELEMENT_TYPES[kind],
            pointers.index,
            pointers.distance,
            pointers.workspace,
            pointers.workspace_bytes,
            stream,
        )
        if code < 0:
            raise ShapeError(self._reason(code))
        if code > 0:
            raise ScoringError(f"CUDA error {code}: {self._reason(code)}")

    def _reason(self, code: int) -> str:
        reason: bytes = self._library.prn_residual_error(code)
        return reason.decode()


class _Scale(ctypes.Structure):
    """`struct prn_scale`."""

    _fields_ = (
        ("features", ctypes.c_void_p),
        ("prototypes", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("elements", ctypes.c_longlong),
        ("prototypes_count", ctypes.c_int),
    )


def _as_structs(scales: Sequence[Scale]) -> ctypes.Array[_Scale]:
    return (_Scale * len(scales))(
        *(
            _Scale(
                scale.features,
                scale.prototypes,
                scale.residual,
                scale.elements,
                scale.prototypes_count,
            )
            for scale in scales
        )
    )


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    scales = ctypes.POINTER(_Scale)
    library.prn_residual_version.argtypes = []
    library.prn_residual_version.restype = number
    library.prn_residual_error.argtypes = [number]
    library.prn_residual_error.restype = ctypes.c_char_p
    library.prn_residual_workspace_bytes.argtypes = [scales, number, number]
    library.prn_residual_workspace_bytes.restype = ctypes.c_longlong
    library.prn_residual_launch.argtypes = [
        *(scales, number, number, number, pointer, pointer, pointer, ctypes.c_longlong, pointer)
    ]
    library.prn_residual_launch.restype = number
    return library
