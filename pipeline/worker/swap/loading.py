"""An engine file -> what a worker serves with, if it may judge on this machine."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engines.admission.timing import CostCurve, batch_sizes, measure_cost
from engines.errors import AdmissionError
from engines.machine import machine_name
from engines.manifest import Manifest, read_manifest
from engines.open import Backend, OpenedEngine, open_engine
from pipeline.frames import EngineName
from pipeline.worker.active_engine import Serving
from pipeline.worker.judge import checked_summary

REPEATS = 9  # calls of each batch size at the start
MEASURE_S = 3.0  # no more rounds of them after this
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How engines run in this worker."""

    backend: Backend
    device: str
    threads: int
    max_batch: int  # frames scored together; 0: what the cost curve says
    skip_admission: bool


def open_serving(path: Path, way: Way, version: str = "") -> Serving:
    """Open an engine file, its manifest beside it, for serving.

    Args:
        path: of the file.
        way: how it runs.
        version: its name in the registry, "" where it is from none.

    Raises:
        AdmissionError: it may not judge here; where its manifest says so it was not even opened.
        ManifestError, BackendError: it cannot run here, or takes frames of another size.
    """
    _look(path, way)
    return _opened(path, way, version, None, None)


def prepare_serving(
    path: Path, way: Way, version: str, incumbent: Serving
) -> Callable[[], Serving]:
    """Do all that comes before an engine takes memory; returns what opens it.

    Args:
        path: as for `open_serving`.
        way: likewise.
        version: likewise.
        incumbent: judges meanwhile, and must not feel it: the newcomer is compiled in another
            process, and nothing is measured. Without a curve from its admission here, it is
            believed to cost what the incumbent does.

    Raises: as `open_serving`, and so does what it returns.
    """
    from engines.precompile import prepare  # noqa: PLC0415  # only for an engine that comes in later

    _look(path, way)
    prepared = prepare(path, way.backend, way.device, way.threads)
    return partial(_opened, path, way, version, incumbent, prepared)


def _look(path: Path, way: Way) -> None:
    manifest = read_manifest(path)
    if not way.skip_admission:
        _check(path, unproven(manifest, ""))


def _opened(
    path: Path, way: Way, version: str, incumbent: Serving | None, prepared: bytes | None
) -> Serving:
    opened = open_engine(path, way.backend, way.device, way.threads, prepared)
    try:
        why = unproven(opened.manifest, opened.backend)
        if not way.skip_admission:
            _check(path, why)
        elif why:
            _log.warning("engine.not_admitted", extra={"engine": str(path), "why": why})
        return _serving(opened, version, way, incumbent)
    except BaseException:
        with opened:
            raise


def _check(path: Path, why: str) -> None:
    if why:
        raise AdmissionError(
            f"{path} {why}: run engine-admit --engine {path} here, or say --skip-admission"
        )


def unproven(manifest: Manifest, backend: str) -> str:
    """Say why an engine may not judge here; empty where it may, or is the fixed one of dry runs.

    Args:
        manifest: of the engine.
        backend: what runs it here; "" where that is not known yet.
    """
    if manifest.format == "fixed":
        return ""
    admission = manifest.admission
    if admission is None:
        return "has not proved itself"
    if not admission.admitted:
        return f"was refused on {admission.machine} ({'; '.join(admission.reasons)})"
    if (admission.machine, backend or admission.backend) != (machine_name(), admission.backend):
        here = f"{machine_name()} with {backend}" if backend else machine_name()
        return (
            f"proved itself on {admission.machine} with {admission.backend}, not on this machine, "
            f"{here}"
        )
    return ""


def _serving(opened: OpenedEngine, version: str, way: Way, incumbent: Serving | None) -> Serving:
    manifest = opened.manifest
    lanes = (opened.engine, *opened.more_lanes)
    curve = _admitted_curve(opened)
    if curve is None:
        curve = incumbent.curve if incumbent else _measured_curve(opened, way.max_batch)
    max_batch = min(way.max_batch or curve.best_batch(), opened.engine.max_batch)
    max_batch = -(-max_batch // len(lanes))  # lanes share what is worthwhile
    fields = {"backend": opened.backend, "max_batch": max_batch, "one_ms": curve.ms(1)}
    _log.info("engine.ready", extra={"version": version or manifest.version, **fields})
    return Serving(
        name=EngineName(manifest.model, manifest.version, manifest.sha256),
        thresholds=manifest.thresholds,
        lanes=lanes,
        curve=curve,
        max_batch=max_batch,
        version=version,
    )


def _admitted_curve(opened: OpenedEngine) -> CostCurve | None:
    admission = opened.manifest.admission
    if admission and (admission.machine, admission.backend) == (machine_name(), opened.backend):
        return CostCurve.through(admission.cost)
    return None


def _measured_curve(opened: OpenedEngine, max_batch: int) -> CostCurve:
    most = opened.engine.max_batch
    sizes = batch_sizes(min(max_batch or most, most))
    return CostCurve.through(measure_cost(opened.engine, sizes, REPEATS, MEASURE_S))


def warm(serving: Serving, wait_for_spare_time: Callable[[], object]) -> None:
    """Let every lane score noise, alone and in the largest batch, each in spare time.

    Raises:
        EngineError: it fails, or gives what is no number.
    """
    shape = (serving.max_batch, *serving.lanes[0].input_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for engine in serving.lanes:
        for frames in {1, serving.max_batch}:
            wait_for_spare_time()
            checked_summary(engine.score(noise[:frames]))
