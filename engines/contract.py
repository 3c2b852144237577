"""The graph's contract: the tensors that every engine file must have.

frames    uint8    [N, H, W, 3]  in, RGB
score     float32  [N]           out, raw
map       float32  [N, H, W]     out, 0..1
nearest   int32    [N, S]        out, if the network has prototypes (S scales)
distance  float32  [N, S]        out, together with nearest

A plan summarises its maps on the GPU (engines.engine), so that they can stay there:

peak      float32  [N]           out, highest value of each map
cells     float32  [N, 4, 4]     out, its means over a grid
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.engine import GRID, Floats, Indices, MapSummary, Scores
from engines.errors import ManifestError
from engines.files import read_file
from engines.manifest import Manifest

Dims = tuple[int | None, ...]  # None for an open size

FRAMES = "frames"
SCORE = "score"
MAP = "map"
NEAREST = "nearest"
DISTANCE = "distance"
PEAK = "peak"
CELLS = "cells"

_EXPORT = "export it with this project's trainer-train"
MAX_ONNX_BYTES = 2 << 30  # protobuf's limit


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a graph."""

    name: str
    dtype: str  # numpy's name
    dims: Dims

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.dims)
        return f"{self.dtype} [{sizes}]"


def read_graph(path: Path) -> bytes:
    """Read an `.onnx` file that holds all of its weights, so that its hash covers them.

    Raises:
        ManifestError: the file is unreadable, keeps weights in another file, which no hash covers,
            or has functions that grow without bounds when inlined.
    """
    from engines.onnx_file import check_graph  # noqa: PLC0415  # plans need no onnx

    try:
        graph = read_file(path, MAX_ONNX_BYTES)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
    check_graph(graph, str(path))
    return graph


def check_contract(inputs: Sequence[Port], outputs: Sequence[Port], manifest: Manifest) -> int:
    """Compare a graph's inputs and outputs with the contract and the manifest's frame size.

    Returns: S, the scales of its prototypes; 0 without prototypes.

    Raises:
        ManifestError: a tensor is missing, unknown, or of another type or shape.
    """
    size = (manifest.height, manifest.width)
    needed = {SCORE, MAP, PEAK, CELLS} if manifest.is_plan else {SCORE, MAP}
    advice = "build it again with engine-build" if manifest.is_plan else _EXPORT
    _check_names("input", inputs, {FRAMES}, {FRAMES}, advice)
    _check_names("output", outputs, needed, needed | {NEAREST, DISTANCE}, advice)
    ports = {port.name: port for port in (*inputs, *outputs)}
    _check_port(ports[FRAMES], "uint8", (None, *size, 3))
    _check_port(ports[SCORE], "float32", (None,))
    _check_port(ports[MAP], "float32", (None, *size))
    if manifest.is_plan:
        _check_port(ports[PEAK], "float32", (None,))
        _check_port(ports[CELLS], "float32", (None, GRID, GRID))
    if NEAREST not in ports and DISTANCE not in ports:
        return 0
    if NEAREST not in ports or DISTANCE not in ports:
        raise ManifestError("graph has one of 'nearest' and 'distance': export both or neither")
    return _scales(ports[NEAREST], ports[DISTANCE])


def _check_names(
    kind: str, ports: Sequence[Port], needed: set[str], known: set[str], advice: str
) -> None:
    names = {port.name for port in ports}
    if missing := needed - names:
        raise ManifestError(
            f"graph has no {kind} {_listed(missing)} (it has {_listed(names) or 'none'}): " + advice
        )
    if unknown := names - known:
        raise ManifestError(f"graph has an unknown {kind} {_listed(unknown)}: leave it out")


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _check_port(port: Port, dtype: str, dims: Dims) -> None:
    wanted = Port(port.name, dtype, dims)
    fits = len(port.dims) == len(dims) and all(
        got is None or want is None or got == want
        for got, want in zip(port.dims, dims, strict=True)
    )
    if port.dtype != dtype or not fits:
        raise ManifestError(
            f"graph's {port.name!r} is {port}, the manifest's frame size needs {wanted}: "
            "file and manifest come from different exports"
        )


def _scales(nearest: Port, distance: Port) -> int:
    _check_port(nearest, "int32", (None, None))
    _check_port(distance, "float32", (None, None))
    scales = nearest.dims[1]
    if scales is None or scales != distance.dims[1]:
        raise ManifestError(
            f"graph's 'nearest' is {nearest} and 'distance' {distance}: "
            "their second size must be fixed and the same"
        )
    return scales


def allocate_scores(manifest: Manifest, scales: int) -> Scores:
    """Allocate the arrays for an engine's results, for its largest batch."""
    most = manifest.max_batch
    summary = MapSummary(np.empty(most, np.float32), np.empty((most, GRID, GRID), np.float32))
    return Scores(
        score=np.empty(most, np.float32),
        maps=np.empty((most, manifest.height, manifest.width), np.float32),
        nearest=np.empty((most, scales), np.int32) if scales else None,
        distance=np.empty((most, scales), np.float32) if scales else None,
        summary=summary if manifest.is_plan else None,
    )


def first_rows(scores: Scores, count: int) -> Scores:
    """Return views of the first `count` rows of every array."""
    return scores_by_name({name: array[:count] for name, array in outputs_by_name(scores).items()})


def outputs_by_name(scores: Scores) -> dict[str, Floats | Indices]:
    """Return the outputs that are present, by their names in the graph."""
    outputs: dict[str, Floats | Indices] = {SCORE: scores.score, MAP: scores.maps}
    if scores.nearest is not None and scores.distance is not None:
        outputs |= {NEAREST: scores.nearest, DISTANCE: scores.distance}
    if scores.summary is not None:
        outputs |= {PEAK: scores.summary.peak, CELLS: scores.summary.cells}
    return outputs


def scores_by_name(outputs: dict[str, Any]) -> Scores:
    """Undo `outputs_by_name`."""
    return Scores(
        score=outputs[SCORE],
        maps=outputs[MAP],
        nearest=outputs.get(NEAREST),
        distance=outputs.get(DISTANCE),
        summary=MapSummary(outputs[PEAK], outputs[CELLS]) if PEAK in outputs else None,
    )
