"""Import an anomaly model of another project: ONNX file -> engine file with its manifest.

It is made for the files of anomalib's exporter since its version 2. Their input is float32 RGB
[N, 3, H, W] in 0..1, with resizing and normalisation inside. Their outputs `pred_score` and
`anomaly_map` are normalised so that 0.5 is the threshold. Weights may be in a file beside the
graph; they are moved into it. Models in other forms work too. Facts that their file does not state
are requested, and the choices are written into the manifest's settings. Standard nodes before and
after the model convert our frames, uint8 [N, H, W, 3], to its input, and its outputs to ours.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engines.contract import FRAMES, MAP, SCORE
from engines.conversion.foreign.calibrate import check_numbers, find_range, find_thresholds
from engines.conversion.foreign.form import (
    Answers,
    InputForm,
    MapForm,
    ScoreForm,
    find_input,
    find_map,
    find_score,
)
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.foreign.source import MAX_BYTES, SourceModel, load_source
from engines.conversion.foreign.trial import Trial, open_session, run_session
from engines.conversion.foreign.wrap import MapRange, wrap_model
from engines.errors import ManifestError
from engines.files import file_sha256, write_atomic
from engines.manifest import Manifest, Thresholds, write_manifest
from engines.trial_frames import draw_frames, read_frames

_SUFFIX = ".onnx"
_DRAWN = 4  # trial frames: black, white and two synthetic ones
_MOST_GOOD = 1000  # pictures of good parts


@dataclass(frozen=True, slots=True)
class _Taken:
    """The choices made for a model."""

    form: InputForm
    score: ScoreForm
    map: MapForm
    values: MapRange
    thresholds: Thresholds
    settings: dict[str, str | int | float | bool]  # the same in words


def import_model(source: Path, target: Path, options: ImportOptions) -> Manifest:
    """Wrap the ONNX file `source` and write the engine file `target` with its manifest.

    The manifest's settings record the choices: `input`, `score`, `map` and `unused` outputs.

    Raises:
        ManifestError: the file has no fitting input or outputs, does not run, or needs an option.
        PictureError: no picture of a good part is readable.
    """
    if not source.is_file():
        raise ManifestError(f"no file {source}")
    if target.suffix != _SUFFIX or target.resolve() == source.resolve():
        raise ManifestError(
            f"{target.name}: the engine file needs another name, which ends with {_SUFFIX}"
        )
    model = load_source(source, MAX_BYTES)
    taken = _take(model, options)
    wrapped = wrap_model(model, taken.form, taken.score, taken.map, taken.values)
    content: bytes = wrapped.SerializeToString()
    most = 1 if taken.form.batch else options.max_batch
    _check_runs(content, source.name, taken.form.size, most)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, content)
    manifest = _manifest(target, model, taken, options.name, most)
    write_manifest(target, manifest)
    return manifest


def _take(model: SourceModel, options: ImportOptions) -> _Taken:
    """Decide input, outputs, range and thresholds from the file, trials and options."""
    form = find_input(model, options)
    trial = Trial(model.model.SerializeToString(), model.name, form)
    frames = draw_frames(form.size)[:_DRAWN]
    answers = trial.run(frames[:1])
    of_map = find_map(model.name, answers, options)
    score = find_score(model.name, answers, options)
    drawn = trial.judge(frames, score, of_map)
    good = None
    if options.good_images is not None:
        pictures, _ = read_frames(options.good_images, form.size, _MOST_GOOD, options.rules)
        good = trial.judge(pictures, score, of_map)
    judged = [each for each in (drawn, good) if each is not None]
    check_numbers(model.name, judged)
    values = find_range(model.name, of_map, drawn, good, options)
    thresholds = find_thresholds(model.name, (score, of_map), drawn, good, values, options)
    unused = [each for each in answers if each not in (of_map.name, score.name)]
    scores, (low, high) = judged[-1].scores, judged[-1].map_values
    on = f"on {len(scores)} {'synthetic frames' if good is None else 'good pictures'}"
    called = "highest value of the map" if score.name is None else repr(score.name)
    settings: dict[str, str | int | float | bool] = {
        "input": str(form),
        "score": f"{called}: {np.nanmin(scores):.4g}..{np.nanmax(scores):.4g} {on}",
        "map": f"{_map_text(of_map, answers)}: {low:.4g}..{high:.4g} {on}; {values}",
        "unused": ", ".join(repr(each) for each in unused) or "nothing",
    }
    return _Taken(form, score, of_map, values, thresholds, settings)


def _map_text(of_map: MapForm, answers: Answers) -> str:
    shape = list(answers[of_map.name].shape[1:])
    channel = "" if of_map.channel is None else f", channel {of_map.channel}"
    return f"{of_map.name!r} {of_map.dtype} {shape} a frame{channel}"


def _manifest(target: Path, model: SourceModel, taken: _Taken, name: str, most: int) -> Manifest:
    created = datetime.now(UTC)
    producer = f"{model.model.producer_name} {model.model.producer_version}".strip()
    return Manifest(
        sha256=file_sha256(target),
        model=name,
        version=created.strftime("%Y%m%d-%H%M%S"),
        created=created.isoformat(timespec="seconds"),
        format="onnx",
        format_version=producer or "unknown",
        device="any",
        height=taken.form.size[0],
        width=taken.form.size[1],
        max_batch=most,
        precision="fp32",
        thresholds=taken.thresholds,
        settings=taken.settings,
        built_from=model.sha256(),
    )


def _check_runs(content: bytes, name: str, size: tuple[int, int], most: int) -> None:
    """Run it on one and, if possible, two grey frames; its answers must have our shapes."""
    session = open_session(content, name)
    for count in sorted({1, min(2, most)}):
        frames = np.full((count, *size, 3), 128, np.uint8)
        try:
            answers = run_session(session, (SCORE, MAP), {FRAMES: frames}, name)
        except ManifestError as error:
            if count == 1:
                raise
            raise ManifestError(
                f"{error}; it runs on one frame, not on two: import it with --max-batch 1"
            ) from error
        score, maps = answers[SCORE], answers[MAP]
        if score.shape != (count,) or maps.shape != (count, *size):
            raise ManifestError(
                f"{name} answers score {list(score.shape)} and map {list(maps.shape)} for "
                f"{count} frames: expected one number and one map a frame"
            )
