"""The admission gate: an engine proves on this machine that it may judge.

The same frames go through the candidate and through the reference, which is ONNX Runtime on the CPU
with the same file, or with the float32 file that the candidate was built from. The candidate must
stay within the tolerance of its precision, decide like the reference (a small share of the frames,
near the threshold, may differ). It must give a frame the same answer in every slot of every batch,
and in every run. An 8-bit engine trades accuracy for speed, so it must also be faster on this
machine: a plan than its baseline in fp16, any other engine than float32 on the same cores. The
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
# A peak is a value of the map itself, so it must match. Means are summed in another order; drift
# uses shares of them, above 1e-4.
PEAK_TOLERANCE, CELL_TOLERANCE, CELL_LEAST = 1e-6, 1e-3, 1e-5
CLEAR_GAP = 0.01  # gap between peaks that is too large for any engine to confuse
_SYNTHETIC = "SYNTHETIC"  # how the description of synthetic frames begins
_CONSTANT = 1e-6  # smallest difference between values of a map
_MOST_CUT_OFF = 0.5  # largest share of the values of all maps


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a candidate may be from the reference, and why."""

    score: float  # share of the largest |reference score| or |threshold|
    map: float  # of the map's range, 0..1
    same: float  # the same engine in another slot or run: as for `score`, and of the map's range
    reason: str
    # share of all frames that may be decided unlike the reference, however near to the threshold;
    # one frame always may, because it may lie on the threshold
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
    """The engine's answers for all frames, scored one at a time."""

    score: Floats  # [frames]
    maps: Floats  # [frames, H, W]


@dataclass(frozen=True, slots=True)
class _Measurements:
    """What was measured of the candidate."""

    backend: str
    answers: _AllScores
    drift_repeat: tuple[float, float]  # largest difference of score and of map
    drift_slot: tuple[float, float]
    cost: list[CostPoint]
    peak_memory_mb: float
    gain: float | None  # speed relative to its baseline; None if no speed-up is required


def admit(
    engine_path: Path,
    images: Path | TrialPictures | None,
    runtime: Runtime = Runtime(),
    repeats: int = 20,
    reference: Path | None = None,
    least_gain: float | None = None,
    baseline_path: Path | None = None,
) -> Admission:
    """Compare the engine with the reference and write the report into its manifest.

    Args:
        engine_path: the file; an earlier report in its manifest is dropped before the trial.
        images: pictures of a folder, by default up to 64 of them; None for synthetic frames.
        runtime: what runs the candidate.
        repeats: calls of each batch size for the cost curve.
        reference: as for `find_reference`.
        least_gain: the speed-up over its baseline that an 8-bit engine must reach; None for the
            default of the baseline. Other precisions need none.
        baseline_path: as for `find_baseline`.

    Raises:
        AdmissionError: there is no reference, or the answers are NaN.
        PictureError: no picture can be read.
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
        manifest: the candidate's.
        given: the file that the candidate was built from; None to look beside the candidate.

    Raises:
        AdmissionError: there is no such file, or `given` is another one.
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
    return f"{source}, without {len(unreadable)} that cannot be read, the first: {unreadable[0]}"


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
    """Score each frame in a batch of its own."""
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
    """Raise AdmissionError if an answer is NaN, or if a summary does not match its map."""
    for name, values in (("score", scores.score), ("map", scores.maps)):
        if not np.isfinite(values).all():
            raise AdmissionError(
                f"a {name} is not a number: the network overflows; build a plan with "
                "--precision fp32, train any other engine again"
            )
    if scores.summary is None:
        return
    own, ours = scores.summary, summarise_maps(scores.maps)
    peaks = np.abs(own.peak - ours.peak) <= PEAK_TOLERANCE  # never true for NaN
    cells = np.abs(own.cells - ours.cells) <= CELL_TOLERANCE * ours.cells + CELL_LEAST
    for name, right in (("highest values", peaks), ("means of cells", cells)):
        if not right.all():
            raise AdmissionError(
                f"in {len(right)} maps {np.count_nonzero(~right)} {name} that the plan computes "
                "are not those of the map: build it again with this release"
            )


def _slot_drift(engine: Engine, frames: Pixels, alone: _AllScores) -> tuple[float, float]:
    """Return how far a frame's answer moves with its slot, its neighbours and the batch size."""
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
    """Return how far answers move if only some maps are requested, as the line does.

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
            "with only some maps requested, the engine returns NaN: build the plan again "
            "with this release"
        )
    return apart[0], max(apart[1:])


def _below_widest_gap(peaks: Floats) -> float:
    """Return a threshold that some values clearly exceed, or all if they hardly differ."""
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
    """Count differing decisions among frames at least this far from the reference's threshold."""
    differs = (score > threshold) != (expected > threshold)
    clear = np.abs(expected - threshold) >= tolerance
    return int(np.count_nonzero(differs & clear))


def gain_suffices(gain: float | None, least: float | None) -> bool:
    """Return whether the engine meets the required speed-up, or True if none is required."""
    return least is None or (gain is not None and gain >= least)


def _map_faults(maps: Floats, source: str) -> list[str]:
    """Return why the maps cannot show a defect: constant values, or most of them clipped at 1.

    Synthetic frames are far from any part, so a good map may be clipped on most of them.
    """
    low, high = float(maps.min()), float(maps.max())
    advice = (
        "import the model again with --good-images or --map-range, or name another --map-output"
    )
    if high - low <= _CONSTANT:
        reason = (
            f"the map is {low:.4g} everywhere on all {len(maps)} frames, {source}: it shows no "
            f"defect; admit it on pictures some of which show defects, or {advice}"
        )
        return [reason]
    cut_off = float((maps >= 1 - _CONSTANT).mean())
    if cut_off > _MOST_CUT_OFF and not source.startswith(_SYNTHETIC):
        return [f"{cut_off:.0%} of the map's values are clipped at 1: {advice}"]
    return []


def _reasons(admission: Admission, measured: _Measurements) -> list[str]:
    """Return the reasons why the engine may not judge, as sentences; empty if it may."""
    found = admission
    maps = measured.answers.maps
    checks = {
        f"a score is {found.score_error:.3g} from the reference, "
        f"the tolerance is {found.score_tolerance:.3g}": found.score_error <= found.score_tolerance,
        f"a map value is {found.map_error:.3g} from the reference, "
        f"the tolerance is {found.map_tolerance:.3g}": found.map_error <= found.map_tolerance,
        f"{found.rank_flips} frames clear of the threshold are decided unlike the reference": (
            found.rank_flips == 0
        ),
        f"{found.unlike} of {found.images} frames are decided unlike the reference, "
        f"at most {found.unlike_tolerance} may be": found.unlike <= found.unlike_tolerance,
        "a frame's answer depends on its place in the batch or its neighbours: score moves by "
        f"{measured.drift_slot[0]:.3g}, map by {measured.drift_slot[1]:.3g}": found.batch_invariant,
        "two runs on the same frames gave different answers: score moves by "
        f"{measured.drift_repeat[0]:.3g}, map by {measured.drift_repeat[1]:.3g}": found.repeatable,
        f"map values of {maps.min():.3g}..{maps.max():.3g} lie outside 0..1": bool(
            maps.min() >= 0 and maps.max() <= 1
        ),
        f"it is {found.gain or 0:.2f} times as fast as {found.gain_over}, for the risk of fewer "
        f"bits it must be {found.least_gain or 0:g} times as fast (--least-gain)": gain_suffices(
            found.gain, found.least_gain
        ),
    }
    return [reason for reason, holds in checks.items() if not holds]
