"""`prn::PrototypeResidual` as a plugin for TensorRT and TensorRT-RTX.

The kernels are in a library of their own with a C launcher (engines.residual). The plugin tells
TensorRT shapes, types and workspace, and calls the launcher. So a plan can be built without a GPU
and without the library, which is needed only where the plan runs.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.errors import BackendError
from engines.residual.launcher import OutputPointers, ResidualKernel, Scale
from engines.residual.operator import DOMAIN, OPERATOR, OUTPUTS, SCALES, VERSION

_INDEX = OUTPUTS.index("index")
_INPUTS = 2 * SCALES  # features and prototypes alternate
_SLICE = 2048  # elements of a map that one block of threads compares
_TILE = 8  # pictures that a block compares at once
_FLOAT_BYTES = 4
_ALIGNMENT = 256  # alignment of each part of the workspace, bytes


def workspace_bytes(maps: Sequence[tuple[int, int]], batch: int) -> int:
    """Return the size of the workspace that the kernels need for `batch` pictures, bytes.

    Args:
        maps: for each scale, elements of a map and number of prototypes.
        batch: pictures.
    """
    tiles = -(-batch // _TILE)
    counters = _rounded(_FLOAT_BYTES * len(maps) * tiles)
    return counters + sum(
        _rounded(_FLOAT_BYTES * -(-elements // _SLICE) * tiles * _TILE * count)
        for elements, count in maps
    )


@dataclass
class _Registered:
    """The operator's registration with one TensorRT, shared by all plans of a process."""

    creator: Any
    plans: int = 0


_REGISTERED: dict[Any, _Registered] = {}  # by the module of a TensorRT
_LOCK = threading.RLock()  # holds the table, and a plan while its plugins are made


class PlanPlugins:
    """The operator, registered with a TensorRT while a plan needs it; each plan has its kernels."""

    def __init__(self, trt: Any, kernel: ResidualKernel | None = None) -> None:  # noqa: ANN401
        """Register the operator.

        Args:
            trt: `tensorrt` or `tensorrt_rtx`.
            kernel: the kernel library; None if plans are only built, not run.

        Raises:
            BackendError: another operator is registered under this name.
        """
        self._trt, self._kernel = trt, kernel
        self._closed = False
        with _LOCK:
            if trt not in _REGISTERED:
                _REGISTERED[trt] = _Registered(_register(trt))
            _REGISTERED[trt].plans += 1

    @contextmanager
    def making(self) -> Iterator[None]:
        """Use these kernels in plugins that a plan makes while it is read inside this context."""
        with _LOCK:
            creator = _REGISTERED[self._trt].creator
            creator.kernel = self._kernel
            try:
                yield
            finally:
                creator.kernel = None

    def close(self) -> None:
        """Release it; the last release unregisters the operator. May be called again."""
        with _LOCK:
            if self._closed:
                return
            self._closed = True
            registered = _REGISTERED[self._trt]
            registered.plans -= 1
            if not registered.plans:
                del _REGISTERED[self._trt]
                self._trt.get_plugin_registry().deregister_creator(registered.creator)


def _register(trt: Any) -> Any:  # noqa: ANN401
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)
    plugin = type("Plugin", (_Plugin, *bases), {"trt": trt, "bases": bases})
    creator = type("Creator", (_Creator, trt.IPluginCreatorV3One), {"plugin": plugin})(trt)
    if not trt.get_plugin_registry().register_creator(creator, DOMAIN):
        raise BackendError(f"TensorRT knows another operator {DOMAIN}::{OPERATOR} already")
    return creator


class _Creator:
    """Make the plugin for each node that needs it; mixed into TensorRT's creator class."""

    plugin: type
    kernel: ResidualKernel | None = None  # of the plan that is being read

    def __init__(self, trt: Any) -> None:  # noqa: ANN401
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_namespace = OPERATOR, DOMAIN
        self.plugin_version = str(VERSION)
        self.field_names = trt.PluginFieldCollection([])

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:  # noqa: ANN401
        del name, fields, phase
        made = self.plugin()
        made.kernel = self.kernel
        return made


class _Plugin:
    """The operator; its method names and signatures are those of TensorRT's plugin classes."""

    trt: Any
    bases: tuple[Any, ...]
    kernel: ResidualKernel | None = None

    def __init__(self) -> None:
        for base in self.bases:
            base.__init__(self)
        self.plugin_name, self.plugin_namespace = OPERATOR, DOMAIN
        self.plugin_version = str(VERSION)
        self.num_outputs = len(OUTPUTS)

    def get_capability_interface(self, kind: Any) -> Any:  # noqa: ANN401
        del kind
        return self

    def clone(self) -> Any:  # noqa: ANN401
        copy = type(self)()
        copy.kernel = self.kernel
        return copy

    def get_output_data_types(self, types: Sequence[Any]) -> list[Any]:
        return [*types[:_INPUTS:2], self.trt.int32, self.trt.float32]

    def get_output_shapes(self, inputs: Any, shapes: Any, builder: Any) -> list[Any]:  # noqa: ANN401
        del shapes
        maps = [self.trt.DimsExprs(inputs[place]) for place in range(0, _INPUTS, 2)]
        rows = []
        for _ in ("index", "distance"):
            row = self.trt.DimsExprs(2)
            row[0], row[1] = inputs[0][0], builder.constant(SCALES)
            rows.append(row)
        return [*maps, *rows]

    def supports_format_combination(self, place: int, ports: Any, inputs: int) -> bool:  # noqa: ANN401
        port, trt = ports[place].desc, self.trt
        if port.format != trt.TensorFormat.LINEAR:
            return False
        if place == inputs + _INDEX:
            return bool(port.type == trt.int32)
        if place == inputs + _INDEX + 1:
            return bool(port.type == trt.float32)
        allowed = port.type in (trt.float16, trt.float32)
        return bool(allowed and port.type == ports[0].desc.type)

    def configure_plugin(self, inputs: Any, outputs: Any) -> None:  # noqa: ANN401
        pass

    def get_workspace_size(self, inputs: Any, outputs: Any) -> int:  # noqa: ANN401
        del outputs
        return workspace_bytes(_maps([each.max for each in inputs]), inputs[0].max[0])

    def get_valid_tactics(self) -> list[int]:
        return []

    def set_tactic(self, tactic: int) -> None:
        pass

    def on_shape_change(self, inputs: Any, outputs: Any) -> None:  # noqa: ANN401
        pass

    def attach_to_context(self, context: Any) -> Any:  # noqa: ANN401
        del context
        return self.clone()

    def get_fields_to_serialize(self) -> Any:  # noqa: ANN401
        return self.trt.PluginFieldCollection([])

    def enqueue(
        self,
        input_desc: Any,  # noqa: ANN401
        output_desc: Any,  # noqa: ANN401
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> None:
        del output_desc
        if self.kernel is None:
            raise RuntimeError("the kernel library is not loaded in this process")
        shapes = [tuple(each.dims) for each in input_desc]
        maps, batch = _maps(shapes), shapes[0][0]
        scales = [
            Scale(inputs[2 * place], inputs[2 * place + 1], outputs[place], elements, count)
            for place, (elements, count) in enumerate(maps)
        ]
        pointers = OutputPointers(
            index=outputs[_INDEX],
            distance=outputs[_INDEX + 1],
            workspace=workspace,
            workspace_bytes=workspace_bytes(maps, batch),
        )
        element = np.float16 if input_desc[0].type == self.trt.float16 else np.float32
        self.kernel.launch(scales, batch, element, pointers, stream)


def _maps(shapes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return map elements and prototype count of each scale, from the shapes of all inputs."""
    found = []
    for place in range(1, _INPUTS, 2):
        count, channels, height, width = shapes[place]
        found.append((channels * height * width, count))
    return found


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
