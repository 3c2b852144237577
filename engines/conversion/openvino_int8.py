"""ONNX engine file -> OpenVINO engine file whose encoder computes in 8 bits.

NNCF (Apache-2.0) quantises the encoder's convolutions after training, except the first
(engines.conversion.int8). They take half of a network's time. `engine-admit` decides whether the
answers are accurate enough.

NNCF would report its use over the network; this is disabled here.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engines.backends.openvino_file import SUFFIX, pack_network
from engines.contract import FRAMES, read_graph
from engines.conversion.int8 import find_convolutions, read_calibration
from engines.engine import Pixels
from engines.errors import BackendError
from engines.extras import install_command
from engines.files import write_atomic
from engines.manifest import Manifest, read_manifest, write_manifest
from engines.pictures.rules import AS_STORED, PictureRules
from engines.trial_frames import PICTURES, TrialPictures

_QUIET = {"NNCF_CI": "1"}  # NNCF's own switch against reporting


@dataclass(frozen=True, slots=True)
class _Toolkit:
    openvino: Any  # they have no types
    nncf: Any


def quantise(
    source: Path,
    target: Path,
    calibration: Path,
    pictures: int = PICTURES,
    on_phase: Callable[[str], None] = lambda _: None,
    rules: PictureRules = AS_STORED,
) -> Manifest:
    """Build `target` from the ONNX engine file `source`; its manifest is written beside it.

    Args:
        source: `.onnx`, float32.
        target: `.openvino`.
        calibration: folder of good pictures, searched with its subfolders.
        pictures: how many to use, evenly spread over the sorted names.
        on_phase: called with a description of each step.
        rules: how the picture files are read.

    Raises:
        ManifestError: `source` is not a float32 ONNX engine, or has no convolution to quantise.
        BackendError: NNCF or OpenVINO is missing, or fails.
        PictureError: there are too few pictures.
    """
    manifest = read_manifest(source)
    if target.suffix != SUFFIX:
        raise BackendError(f"{target.name}: the name of such a file must end with {SUFFIX}")
    graph = read_graph(source)
    convolutions = find_convolutions(source.name, manifest, onnx.load_model_from_string(graph))
    frames = read_calibration(TrialPictures(calibration, pictures, rules), manifest, on_phase)
    toolkit = _load_toolkit()
    content = _quantised(toolkit, graph, convolutions, frames)
    built = manifest.model_copy(
        update={
            "sha256": hashlib.sha256(content).hexdigest(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "format": "openvino",
            "format_version": f"openvino {toolkit.openvino.__version__.split('-')[0]}, "
            f"nncf {toolkit.nncf.__version__}",
            "device": "cpu",
            "precision": "int8",
            "admission": None,
            "built_from": manifest.sha256,
        }
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, content)
    write_manifest(target, built)
    return built


def _load_toolkit() -> _Toolkit:
    os.environ.update(_QUIET)
    try:
        import nncf  # noqa: PLC0415  # costs seconds, and only this needs it
        import openvino  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(
            f"{error.name} does not import ({error}): {install_command('quantise')}"
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function silences our handlers
    return _Toolkit(openvino, nncf)


def _quantised(toolkit: _Toolkit, graph: bytes, convolutions: list[str], frames: Pixels) -> bytes:
    """Quantise the convolutions of a graph; return the content of the file."""
    from engines.backends.openvino import without_functions  # noqa: PLC0415  # with OpenVINO

    nncf = toolkit.nncf
    advanced = nncf.AdvancedQuantizationParameters(
        # weights of 7 bits: without VNNI two products of 8 overflow the 16 bits of their sum
        overflow_fix=nncf.OverflowFix.ENABLE,
    )
    try:
        network = toolkit.openvino.Core().read_model(without_functions(graph))
        network.reshape({FRAMES: [1, *frames.shape[1:]]})
        made = nncf.quantize(
            network,
            nncf.Dataset(list(frames), _as_batch),
            subset_size=len(frames),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=_others(network, convolutions), validate=False),
            advanced_parameters=advanced,
        )
        return _saved(toolkit.openvino, made)
    except (RuntimeError, nncf.ValidationError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise BackendError(f"NNCF {nncf.__version__} cannot quantise it: {first}") from error


def _as_batch(frame: Pixels) -> Pixels:
    return frame[np.newaxis]


def _others(network: Any, convolutions: list[str]) -> list[str]:  # noqa: ANN401
    """Return all other operations' names; OpenVINO splits off a bias and marks it in the name."""
    wanted = {name for each in convolutions for name in (each, f"{each}/WithoutBiases")}
    passive = {"Constant", "Parameter", "Result"}
    return [
        each.get_friendly_name()
        for each in network.get_ordered_ops()
        if each.get_type_name() not in passive and each.get_friendly_name() not in wanted
    ]


def _saved(openvino: Any, network: Any) -> bytes:  # noqa: ANN401
    with tempfile.TemporaryDirectory(prefix="quantise-") as name:
        path = Path(name, "network.xml")
        openvino.save_model(network, path, compress_to_fp16=False)
        return pack_network(path.read_bytes(), path.with_suffix(".bin").read_bytes())
