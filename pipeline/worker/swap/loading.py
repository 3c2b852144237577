"""An engine file -> what a worker serves with, if it may judge on this machine."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engines.admission.timing import CostCurve, batch_sizes, measure_cost
from engines.commandline.signals import sigterm_deferred
from engines.errors import AdmissionError
from engines.machine import machine_name
from engines.manifest import PEAK_THRESHOLD, Manifest, read_manifest
from engines.open import Backend, OpenedEngine, open_engine
from pipeline.frames import EngineName
from pipeline.worker.active_engine import LoadedEngine
from pipeline.worker.judge import checked_summary

REPEATS = 9  # calls of each batch size at the start
MEASURE_S = 3.0  # no more rounds of them after this
FIXED_NOTE = "serves a fixed engine: its verdicts say nothing of the parts"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How engines run in this worker."""

    backend: Backend
    device: str
    threads: int
    max_batch: int  # frames scored together; 0: what the cost curve says
    skip_admission: bool
    allow_fixed: bool = False  # a fixed engine, by hand and never from a registry
    needs_peak: bool = False  # zones judge, and nobody set a threshold by hand


def load_engine(path: Path, options: EngineOptions, version: str = "") -> LoadedEngine:
    """Open an engine file, its manifest beside it, for serving.

    Args:
        path: of the file.
        options: how it runs.
        version: its name in the registry, "" where it is from none.

    Raises:
        AdmissionError: it may not judge here; where its manifest says so it was not even opened.
        ManifestError, BackendError: it cannot run here, or takes frames of another size.
    """
    with sigterm_deferred():
        _check_may_judge(path, read_manifest(path), "", options, version)
        return _load(path, options, version, None, None)


def prepare_engine(
    path: Path, options: EngineOptions, version: str, incumbent: LoadedEngine
) -> Callable[[], LoadedEngine]:
    """Do all that comes before an engine takes memory; returns what opens it.

    Args:
        path: as for `load_engine`.
        options: likewise.
        version: likewise.
        incumbent: judges meanwhile, and must not feel it: the candidate is compiled in another
            process, and nothing is measured. Without a curve from its admission here, it is
            believed to cost what the incumbent does.

    Raises: as `load_engine`, and so does what it returns.
    """
    from engines.precompile import prepare  # noqa: PLC0415  # only for an engine that comes in later

    _check_may_judge(path, read_manifest(path), "", options, version)
    prepared = prepare(path, options.backend, options.device, options.threads)
    return partial(_load, path, options, version, incumbent, prepared)


def _load(
    path: Path,
    options: EngineOptions,
    version: str,
    incumbent: LoadedEngine | None,
    prepared: bytes | None,
) -> LoadedEngine:
    opened = open_engine(path, options.backend, options.device, options.threads, prepared)
    try:
        _check_may_judge(path, opened.manifest, opened.backend, options, version)
        return _loaded_engine(opened, version, options, incumbent)
    except BaseException:
        with opened:
            raise


def _check_may_judge(
    path: Path, manifest: Manifest, backend: str, options: EngineOptions, version: str
) -> None:
    """Raise AdmissionError unless the engine may judge here; `backend` as `why_not_admitted`."""
    _check_zones(path, manifest, options)
    if manifest.format == "fixed":
        _check_fixed(path, options, version)
        if backend:
            _log.warning("engine.fixed", extra={"engine": str(path), "why": FIXED_NOTE})
        return
    why = why_not_admitted(manifest, backend)
    if why and not options.skip_admission:
        raise AdmissionError(
            f"{path} {why}: run engine-admit --engine {path} here, or say --skip-admission"
        )
    if why and backend:
        _log.warning("engine.not_admitted", extra={"engine": str(path), "why": why})


def _check_zones(path: Path, manifest: Manifest, options: EngineOptions) -> None:
    """Raise AdmissionError where zones are to judge by an engine that has no threshold for them."""
    if (options.needs_peak or manifest.zones) and manifest.peak_threshold is None:
        raise AdmissionError(
            f"{path} has no {PEAK_THRESHOLD} in its manifest's settings, by which zones are "
            "judged: train it again with trainer-train --zones, or give --engine with --threshold"
        )


def _check_fixed(path: Path, options: EngineOptions, version: str) -> None:
    """Raise AdmissionError unless a person asked for this fixed engine by hand."""
    if version:
        raise AdmissionError(
            f"{version} is a fixed engine, which judges without looking at parts: none is served "
            "from a registry; promote an engine that engine-admit proved"
        )
    if not options.allow_fixed:
        raise AdmissionError(
            f"{path} is a fixed engine, which judges without looking at parts: no line that makes "
            "parts may serve it; for a test or a drill say --allow-fixed-engine"
        )


def why_not_admitted(manifest: Manifest, backend: str) -> str:
    """Return why an engine may not judge here, or "" if it may.

    Args:
        manifest: of the engine.
        backend: what runs it here; "" where that is not known yet.
    """
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


def _loaded_engine(
    opened: OpenedEngine, version: str, options: EngineOptions, incumbent: LoadedEngine | None
) -> LoadedEngine:
    manifest = opened.manifest
    lanes = (opened.engine, *opened.more_lanes)
    curve = _admitted_curve(opened)
    if curve is None:
        curve = incumbent.curve if incumbent else _measured_curve(opened, options.max_batch)
    max_batch = min(options.max_batch or curve.best_batch(), opened.engine.max_batch)
    max_batch = -(-max_batch // len(lanes))  # lanes share what is worthwhile
    fields = {"backend": opened.backend, "max_batch": max_batch, "one_ms": curve.ms(1)}
    _log.info("engine.ready", extra={"version": version or manifest.version, **fields})
    return LoadedEngine(
        name=EngineName(manifest.model, manifest.version, manifest.sha256),
        thresholds=manifest.thresholds,
        lanes=lanes,
        curve=curve,
        max_batch=max_batch,
        version=version,
        peak_threshold=manifest.peak_threshold,
        zones=manifest.zones,
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


def warm_up(loaded: LoadedEngine, wait_for_spare_time: Callable[[], object]) -> None:
    """Score noise on every lane, alone and in the largest batch, each in spare time.

    Raises:
        EngineError: it fails, or gives what is no number.
    """
    shape = (loaded.max_batch, *loaded.lanes[0].input_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for engine in loaded.lanes:
        for frames in {1, loaded.max_batch}:
            wait_for_spare_time()
            checked_summary(engine.score(noise[:frames]))
