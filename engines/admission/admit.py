"""The admission gate: an engine proves on this machine that it may judge.

The same frames go through the candidate and through the reference, which is ONNX Runtime on the CPU
with the same file, or with the float32 file that the candidate was built from. The candidate must
stay within the tolerance of its precision, decide like the reference (a small share of the frames,
near the threshold, may differ), answer a frame alike in every slot of every batch, and answer it
alike twice. One of 8 bits, which were taken for the sake of its rate, must also have that rate on
this machine: a plan against its baseline in fp16, any other against float32 on the same cores. The
report goes into the manifest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engines.admission.speed_baseline import SpeedBaseline, find_baseline, measure_against
from engines.admission.timing import batch_sizes, measure_cost
from engines.engine import Engine, Floats, Pixels, Scores, summarise_maps, summary_of
from engines.errors import AdmissionError
from engines.files import file_sha256
from engines.machine import machine_name, peak_memory_mb
from engines.manifest import Admission, CostPoint, Manifest, read_manifest, write_manifest
from engines.open import Runtime, open_engine
from engines.pictures.files import list_parts
from engines.trial_frames import TrialPictures, draw_frames, read_frames

COST_BUDGET_S = 20.0
# A highest value is one of the map's own. Means are sums in another order; drift looks at shares of
# them, above 1e-4.
PEAK_TOLERANCE, CELL_TOLERANCE, CELL_LEAST = 1e-6, 1e-3, 1e-5
CLEAR_GAP = 0.01  # between highest values that no engine mistakes for each other
_SYNTHETIC = "SYNTHETIC"  # how a source of drawn frames begins
_CONSTANT = 1e-6  # by which values of a map differ at least
_MOST_CUT_OFF = 0.5  # share of the values of all maps


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a candidate may be from the reference, and why."""

    score: float  # share of the largest |reference score| or |threshold|
    map: float  # of the map's range, 0..1
    same: float  # the same engine, another slot or run: share as for score, and of the map's range
    reason: str
    # of all frames, however near to the threshold: so many may be decided unlike the reference, but
    # always one, which may lie on the threshold
    unlike: float = 0.02


TOLERANCES = {
    "fp32": Tolerance(
        1e-4, 1e-3, 2e-5, "float32 sums in another order, carried through tens of layers"
    ),
    "fp16": Tolerance(1e-2, 5e-2, 1e-3, "10 bits of fraction: 1e-3 a step, carried through layers"),
    "bf16": Tolerance(5e-2, 2e-1, 5e-3, "7 bits of fraction: 8e-3 a step, carried through layers"),
    "int8": Tolerance(1e-1, 3e-1, 1e-3, "256 steps for each tensor's range"),
}


@dataclass(frozen=True, slots=True)
class _AllScores:
    """What an engine says of every frame, one at a time."""

    score: Floats  # [frames]
    maps: Floats  # [frames, H, W]


@dataclass(frozen=True, slots=True)
class _Measurements:
    """What the candidate showed."""

    backend: str
    answers: _AllScores
    drift_repeat: tuple[float, float]  # largest difference of score and of map
    drift_slot: tuple[float, float]
    cost: list[CostPoint]
    peak_memory_mb: float
    gain: float | None  # times as fast as its baseline; None where nothing is asked


def admit(
    engine_path: Path,
    images: Path | TrialPictures | None,
    runtime: Runtime = Runtime(),
    repeats: int = 20,
    reference: Path | None = None,
    least_gain: float | None = None,
    baseline_path: Path | None = None,
) -> Admission:
    """Try the engine against the reference and write the report into its manifest.

    Args:
        engine_path: the file; an earlier report in its manifest is dropped before the trial.
        images: pictures of a folder, of which up to 64 are taken where nothing else is said; None
            for drawn frames.
        runtime: what runs the candidate.
        repeats: calls of each batch size for the cost curve.
        reference: as for `find_reference`.
        least_gain: times that an engine of 8 bits must be as fast as its baseline; None for
            that of the baseline. Nothing is asked of other precisions.
        baseline_path: as for `find_baseline`.

    Raises:
        AdmissionError: there is nothing to compare with, or the answers are no numbers.
        PictureError: none of the pictures reads.
        EngineError: the engine does not open, or fails on the frames.
    """
    manifest = read_manifest(engine_path)
    source = find_reference(engine_path, manifest, reference)
    baseline = find_baseline(engine_path, manifest, baseline_path, source, runtime)
    if baseline is not None and least_gain is not None:
        baseline = replace(baseline, least_gain=least_gain)
    manifest = manifest.model_copy(update={"admission": None})
    write_manifest(engine_path, manifest)
    size = (manifest.height, manifest.width)
    pictures = TrialPictures(images) if isinstance(images, Path) else images
    frames, unreadable = _frames(pictures, size)
    with open_engine(engine_path, runtime.backend, runtime.device, runtime.threads) as opened:
        measured = _try(opened.engine, opened.backend, frames, repeats)
        if baseline is not None:
            measured = replace(measured, gain=measure_against(baseline, opened.engine, repeats))
    with open_engine(source, "onnxruntime", "cpu", runtime.threads) as opened:
        expected = _answer(opened.engine, frames)
    admission = _weigh(manifest, measured, expected, _source(pictures, unreadable), baseline)
    write_manifest(engine_path, manifest.model_copy(update={"admission": admission}))
    return admission


def find_reference(engine_path: Path, manifest: Manifest, given: Path | None = None) -> Path:
    """Find the float32 ONNX file that an engine is compared with.

    Args:
        engine_path: the candidate.
        manifest: its own.
        given: the file that the candidate was built from; None: look beside the candidate.

    Raises:
        AdmissionError: there is none, or `given` is another one.
    """
    if manifest.format == "onnx" and manifest.precision == "fp32":
        return engine_path
    if not manifest.built_from:
        raise AdmissionError(
            f"{engine_path.name} has no reference to be compared with: only .onnx files and what "
            "is built from them have one"
        )
    candidates = [given] if given else sorted(engine_path.parent.glob("*.onnx"))
    for candidate in candidates:
        if candidate.is_file() and file_sha256(candidate) == manifest.built_from:
            return candidate
    wanted = f"the one that {engine_path.name} was built from, sha256 {manifest.built_from[:12]}..."
    found = f"{given} is not" if given else f"among the .onnx files in {engine_path.parent} is not"
    raise AdmissionError(f"{found} {wanted}: name it with --reference")


def _frames(pictures: TrialPictures | None, size: tuple[int, int]) -> tuple[Pixels, list[str]]:
    if pictures is None:
        return draw_frames(size), []
    return read_frames(pictures.folder, size, pictures.most, pictures.rules)


def _source(pictures: TrialPictures | None, unreadable: Sequence[str]) -> str:
    if pictures is None:
        return f"{_SYNTHETIC} frames, no real picture: admit again with --images"
    source = f"pictures of {'/'.join(pictures.folder.resolve().parts[-2:])}"
    _, files = list_parts(pictures.folder)
    if files.left_out:
        source += f" ({files.line()})"
    if not unreadable:
        return source
    return f"{source}, without {len(unreadable)} that do not read, the first: {unreadable[0]}"


def _try(engine: Engine, backend: str, frames: Pixels, repeats: int) -> _Measurements:
    answers = _answer(engine, frames)
    return _Measurements(
        backend=backend,
        answers=answers,
        drift_repeat=_difference(_answer(engine, frames), answers),
        drift_slot=_slot_drift(engine, frames, answers),
        cost=measure_cost(engine, batch_sizes(engine.max_batch), repeats, COST_BUDGET_S),
        peak_memory_mb=peak_memory_mb(),
        gain=None,
    )


def _answer(engine: Engine, frames: Pixels) -> _AllScores:
    """Score every frame by itself."""
    answers = _AllScores(
        np.empty(len(frames), np.float32), np.empty((len(frames), *engine.input_size), np.float32)
    )
    for place in range(len(frames)):
        scores = engine.score(frames[place : place + 1])
        _check(scores)
        answers.score[place] = scores.score[0]
        answers.maps[place] = scores.maps[0]
    return answers


def _check(scores: Scores) -> None:
    """Raise AdmissionError where what is said of a batch is no number, or not so of its maps."""
    for name, values in (("score", scores.score), ("map", scores.maps)):
        if not np.isfinite(values).all():
            raise AdmissionError(
                f"a {name} is no number: the network overflows; build a plan with --precision "
                "fp32, train any other engine again"
            )
    if scores.summary is None:
        return
    own, ours = scores.summary, summarise_maps(scores.maps)
    peaks = np.abs(own.peak - ours.peak) <= PEAK_TOLERANCE  # never where one is no number
    cells = np.abs(own.cells - ours.cells) <= CELL_TOLERANCE * ours.cells + CELL_LEAST
    for name, right in (("highest values", peaks), ("means of cells", cells)):
        if not right.all():
            raise AdmissionError(
                f"in {len(right)} maps {np.count_nonzero(~right)} {name} that the plan computes "
                "are not those of the map: build it again with this release"
            )


def _slot_drift(engine: Engine, frames: Pixels, alone: _AllScores) -> tuple[float, float]:
    """Find how far a frame's answer moves with its slot, its neighbours and the batch size."""
    most = engine.max_batch
    drifts, sums = [(0.0, 0.0)], engine.score(frames[:1]).summary is not None
    for count in sorted({2, 3, most // 2, most - 1, most} & set(range(1, most + 1))):
        for shift in (0, 1):
            order = (np.arange(count) + shift) % len(frames)
            batch, expected = frames[order], _AllScores(alone.score[order], alone.maps[order])
            if sums:
                drifts.append(_drift_of_some_maps(engine, batch, expected))
            scores = engine.score(batch)
            _check(scores)
            drifts.append(_difference(_AllScores(scores.score, scores.maps), expected))
    return max(score for score, _ in drifts), max(maps for _, maps in drifts)


def _drift_of_some_maps(engine: Engine, batch: Pixels, expected: _AllScores) -> tuple[float, float]:
    """Find how far answers move where some maps are asked for only, as the line asks.

    Called while the engine's arrays hold the maps of other frames.
    """
    peaks = expected.maps.max(axis=(1, 2))
    above = _below_widest_gap(peaks)
    scores, wanted = engine.score(batch, maps_above=above), peaks > above
    own, ours = summary_of(scores), summarise_maps(expected.maps)
    moved = [
        scores.maps[wanted] - expected.maps[wanted],
        own.peak - ours.peak,
        own.cells - ours.cells,
    ]
    apart = [float(np.abs(each).max()) for each in (scores.score - expected.score, *moved)]
    if not np.isfinite(apart).all():
        raise AdmissionError(
            "asked for some maps only, the engine gives what is no number: build the plan again "
            "with this release"
        )
    return apart[0], max(apart[1:])


def _below_widest_gap(peaks: Floats) -> float:
    """Return a threshold that some of these are clearly above; all, where they hardly differ."""
    ordered = np.sort(peaks)
    gaps = np.diff(ordered, prepend=ordered[0] - CLEAR_GAP)
    widest = int(gaps.argmax())
    return float(ordered[widest - 1]) if widest else -1.0


def _difference(one: _AllScores, other: _AllScores) -> tuple[float, float]:
    return (
        float(np.abs(one.score - other.score).max()),
        float(np.abs(one.maps - other.maps).max()),
    )


def _weigh(
    manifest: Manifest,
    measured: _Measurements,
    expected: _AllScores,
    source: str,
    baseline: SpeedBaseline | None,
) -> Admission:
    tolerance = TOLERANCES[manifest.precision]
    threshold = manifest.thresholds.image
    scale = max(float(np.abs(expected.score).max()), abs(threshold))
    score_error, map_error = _difference(measured.answers, expected)
    same = (tolerance.same * scale, tolerance.same)
    admission = Admission(
        admitted=False,
        machine=machine_name(),
        backend=measured.backend,
        source=source,
        images=len(expected.score),
        score_error=score_error,
        map_error=map_error,
        score_tolerance=tolerance.score * scale,
        map_tolerance=tolerance.map,
        tolerance_reason=f"{manifest.precision}: {tolerance.reason}",
        batch_invariant=_within(measured.drift_slot, same),
        repeatable=_within(measured.drift_repeat, same),
        rank_flips=flipped(
            measured.answers.score, expected.score, threshold, tolerance.score * scale
        ),
        unlike=flipped(measured.answers.score, expected.score, threshold, 0),
        unlike_tolerance=max(1, int(tolerance.unlike * len(expected.score))),
        cost=measured.cost,
        peak_memory_mb=measured.peak_memory_mb,
        gain=measured.gain,
        gain_over=baseline.label if baseline else None,
        least_gain=baseline.least_gain if baseline else None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    reasons = [*_reasons(admission, measured), *_map_faults(measured.answers.maps, source)]
    return admission.model_copy(update={"admitted": not reasons, "reasons": reasons})


def _within(found: tuple[float, float], limits: tuple[float, float]) -> bool:
    return found[0] <= limits[0] and found[1] <= limits[1]


def flipped(score: Floats, expected: Floats, threshold: float, tolerance: float) -> int:
    """Count decisions that differ where the reference is so far from the threshold, or farther."""
    differs = (score > threshold) != (expected > threshold)
    clear = np.abs(expected - threshold) >= tolerance
    return int(np.count_nonzero(differs & clear))


def gain_suffices(gain: float | None, least: float | None) -> bool:
    """Return whether an engine is as many times as fast as is asked; none asked, none measured."""
    return least is None or (gain is not None and gain >= least)


def _map_faults(maps: Floats, source: str) -> list[str]:
    """Return why the maps cannot show a defect: one value everywhere, or most of it cut off at 1.

    Drawn frames are far from any part, so that a good map may be cut off on most of them.
    """
    low, high = float(maps.min()), float(maps.max())
    advice = (
        "import the model again with --good-images or --map-range, or name another --map-output"
    )
    if high - low <= _CONSTANT:
        reason = (
            f"the map is {low:.4g} everywhere on all {len(maps)} frames, {source}: it shows no "
            f"defect; admit it on pictures of which some show defects, or {advice}"
        )
        return [reason]
    cut_off = float((maps >= 1 - _CONSTANT).mean())
    if cut_off > _MOST_CUT_OFF and not source.startswith(_SYNTHETIC):
        return [f"{cut_off:.0%} of the map's values are cut off at 1: {advice}"]
    return []


def _reasons(admission: Admission, measured: _Measurements) -> list[str]:
    """Say in sentences why the engine may not judge; none where it may."""
    found = admission
    maps = measured.answers.maps
    checks = {
        f"a score is {found.score_error:.3g} from the reference, "
        f"{found.score_tolerance:.3g} is allowed": found.score_error <= found.score_tolerance,
        f"a map value is {found.map_error:.3g} from the reference, "
        f"{found.map_tolerance:.3g} is allowed": found.map_error <= found.map_tolerance,
        f"{found.rank_flips} frames clear of the threshold are decided unlike the reference": (
            found.rank_flips == 0
        ),
        f"{found.unlike} of {found.images} frames are decided unlike the reference, "
        f"{found.unlike_tolerance} may be": found.unlike <= found.unlike_tolerance,
        "a frame's answer depends on its place in the batch or its neighbours: score moves by "
        f"{measured.drift_slot[0]:.3g}, map by {measured.drift_slot[1]:.3g}": found.batch_invariant,
        "the same frames gave two answers: score moves by "
        f"{measured.drift_repeat[0]:.3g}, map by {measured.drift_repeat[1]:.3g}": found.repeatable,
        f"map values of {maps.min():.3g}..{maps.max():.3g} lie outside 0..1": bool(
            maps.min() >= 0 and maps.max() <= 1
        ),
        f"it is {found.gain or 0:.2f} times as fast as {found.gain_over}, for the risk of fewer "
        f"bits {found.least_gain or 0:g} times are asked (--least-gain)": gain_suffices(
            found.gain, found.least_gain
        ),
    }
    return [reason for reason, holds in checks.items() if not holds]
