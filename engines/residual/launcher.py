"""Call the compiled kernel from Python: it takes pointers and a stream, and enqueues work."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from engines.errors import BackendError, ScoringError, ShapeError

VERSION = 1  # version of the library's functions

_ELEMENT_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale's maps, row-major on the device, in use until the stream has done the work."""

    features: int  # pointer to [N, elements]
    prototypes: int  # pointer to [prototypes_count, elements]
    residual: int  # pointer to [N, elements], written
    elements: int
    prototypes_count: int


@dataclass(frozen=True, slots=True)
class OutputPointers:
    """The outputs on the device, and scratch memory."""

    index: int  # pointer to int32 [N, scales]
    distance: int  # pointer to float32 [N, scales]
    workspace: int  # pointer, aligned to 16 bytes; its content is not kept between calls
    workspace_bytes: int


class ResidualKernel:
    """A library made by `compile_kernel`."""

    def __init__(self, library: Path) -> None:
        """Load the library.

        Raises:
            BackendError: it does not load, or has another version.
        """
        try:
            self._library = _declared(ctypes.CDLL(str(library.resolve())))
        except (OSError, AttributeError) as error:
            raise BackendError(
                f"{library} is not a residual kernel: compile it ({error})"
            ) from error
        found = self._library.prn_residual_version()
        if found != VERSION:
            raise BackendError(f"{library} has version {found}, not {VERSION}: compile it again")

    def workspace_bytes(self, scales: Sequence[Scale], batch: int) -> int:
        """Return how much scratch memory a call needs, bytes; the scales' pointers are ignored.

        Raises:
            ShapeError: these sizes are not supported.
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
        """Enqueue the operator on `stream` of the current context; return before it is done.

        Args:
            scales: 1 to 4, each with 1 to 256 prototypes.
            batch: N, at least 1.
            element_type: of features, prototypes and residuals: float32 or float16.
            pointers: where index and distance are written.
            stream: CUDA's handle; 0 is the default stream.

        Raises:
            ShapeError: the kernel does not support these sizes or this type.
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
