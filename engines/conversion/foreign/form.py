"""Decide which of a model's tensors are the frames, the score and the map, or request it.

What the file states is used. What it does not state must be given by a flag and is never guessed: a
wrong guess would run, and judge parts wrongly without a warning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from engines.conversion.foreign.options import PEAK_OF_MAP, ImportOptions, Layout
from engines.conversion.foreign.source import Dims, SourceModel, value_dims
from engines.errors import ManifestError

Answers = Mapping[str, NDArray[np.generic]]  # by output name; the first axis counts frames

SCORE_NAMES = ("pred_score", "score", "anomaly_score")
MAP_NAMES = ("anomaly_map", "map", "output")
ANOMALIB_NAMES = frozenset({"pred_score", "anomaly_map"})  # then the input is 0..1
MAX_SIDE = 4096
MAX_FIXED_BATCH = 2  # anomalib exports some models with a fixed batch; each frame is then repeated
INPUT_TYPES = ("float32", "uint8", "float16", "float64")
_FLOATS = ("float32", "float16", "float64")
_WANTED = "expected one input float32 [N, 3, H, W] or [N, H, W, 3], or of uint8, float16 or float64"
_WHITE = 255.0


@dataclass(frozen=True, slots=True)
class InputForm:
    """How frames must be fed."""

    name: str
    dtype: str  # numpy's name
    layout: Layout
    size: tuple[int, int]  # (height, width)
    batch: int | None  # fixed batch, filled with copies of one frame; None: any number
    shift: tuple[float, float, float]  # to subtract from R, G and B in 0..255
    divisor: tuple[float, float, float]  # to divide by afterwards
    range_text: str  # description for people

    def __str__(self) -> str:
        height, width = self.size
        sizes = f"3, {height}, {width}" if self.layout == "nchw" else f"{height}, {width}, 3"
        same = f", each frame {self.batch} times" if (self.batch or 1) > 1 else ""
        shape = f"{self.dtype} [{self.batch or 'N'}, {sizes}]"
        return f"{self.name!r}: {shape} RGB, {self.range_text}{same}"


@dataclass(frozen=True, slots=True)
class MapForm:
    """The output that is the map, and its layout."""

    name: str
    dtype: str
    axes: int  # 3 or 4, with the frames'
    layout: Layout  # of a map with four axes
    channel: int | None  # index among several; None if there is one


@dataclass(frozen=True, slots=True)
class ScoreForm:
    """The output that is the score."""

    name: str | None  # None: the map's highest value
    dtype: str = "float32"


def find_input(source: SourceModel, options: ImportOptions) -> InputForm:
    """Decide how frames are fed to the model.

    Raises:
        ManifestError: no input fits, or a flag is needed.
    """
    inputs = source.inputs
    if len(inputs) != 1:
        raise ManifestError(f"{source.name} takes {[each.name for each in inputs]}, {_WANTED}")
    name, dims = inputs[0].name, value_dims(inputs[0])
    dtype = _dtype_name(inputs[0].type.tensor_type.elem_type)
    layout = _layout(source.name, name, dtype, dims, options.layout)
    sizes: Dims = dims or (None,) * 4
    fixed = sizes[2:] if layout == "nchw" else sizes[1:3]
    shift, divisor, text = _scaling(source, dtype, options)
    return InputForm(
        name=name,
        dtype=dtype,
        layout=layout,
        size=_frame_size(source.name, fixed, options.size),
        batch=_batch(source.name, sizes[0] or None),
        shift=shift,
        divisor=divisor,
        range_text=text,
    )


def as_fed(frames: NDArray[np.uint8], form: InputForm) -> NDArray[np.generic]:
    """Convert uint8 [N, H, W, 3] RGB to the model's input; N is 1 if its batch is fixed."""
    values: NDArray[np.generic] = frames.repeat(form.batch or 1, axis=0)
    if form.dtype != "uint8":
        shift, divisor = (np.asarray(each, np.float32) for each in (form.shift, form.divisor))
        values = ((values.astype(np.float32) - shift) / divisor).astype(form.dtype)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if form.layout == "nchw" else values)


def find_map(name: str, answers: Answers, options: ImportOptions) -> MapForm:
    """Decide which output is the map.

    Args:
        name: the file's name, for errors.
        answers: the outputs for one frame.
        options: what was set by flags.

    Raises:
        ManifestError: no output fits, or several do.
    """
    wanted = options.map or next((each for each in MAP_NAMES if each in answers), None)
    if wanted is not None:
        return _map_form(name, wanted, _named(name, wanted, answers, "--map-output"), options)
    fitting = [each for each, values in answers.items() if _is_map(values)]
    if len(fitting) == 1:
        return _map_form(name, fitting[0], answers[fitting[0]], options)
    if fitting:
        raise ManifestError(f"{name} has several maps {fitting}: name one with --map-output")
    raise ManifestError(
        f"{name} has no anomaly map among its outputs {_outputs_text(answers)}: it cannot show "
        "where a defect is; name the map with --map-output, or use another model"
    )


def find_score(name: str, answers: Answers, options: ImportOptions) -> ScoreForm:
    """Decide which output is the score; without one, the score is the map's highest value.

    Raises:
        ManifestError: the named output is not a score, or several outputs could be.
    """
    wanted = options.score
    if wanted == PEAK_OF_MAP and wanted not in answers:
        return ScoreForm(None)
    if wanted is not None:
        values = _named(name, wanted, answers, "--score-output")
        if not _is_score(values):
            raise ManifestError(
                f"{name}'s output {wanted!r} is {_shape_text(values)} for a frame, expected one "
                "float a frame: name another with --score-output"
            )
        return ScoreForm(wanted, str(values.dtype))
    fitting = [each for each, values in answers.items() if _is_score(values)]
    usual = next((each for each in SCORE_NAMES if each in fitting), None)
    if usual is None and len(fitting) > 1:
        raise ManifestError(
            f"{name} has several outputs with one value a frame {fitting}: name the score with "
            f"--score-output, or --score-output {PEAK_OF_MAP} for the map's highest value"
        )
    chosen = usual or (fitting[0] if fitting else None)
    return ScoreForm(chosen, str(answers[chosen].dtype)) if chosen else ScoreForm(None)


def map_planes(values: NDArray[np.generic], form: MapForm) -> NDArray[np.float32]:
    """Return a model's map as float32 [N, h, w]."""
    planes = values.astype(np.float32)
    if form.axes == 3:  # noqa: PLR2004  # [N, h, w]
        return planes
    if form.layout == "nhwc":
        planes = planes.transpose(0, 3, 1, 2)
    return planes[:, form.channel or 0]


def _layout(file: str, name: str, dtype: str, dims: Dims | None, wanted: Layout | None) -> Layout:
    if dtype not in INPUT_TYPES or (dims is not None and len(dims) != 4):  # noqa: PLR2004
        shown = "" if dims is None else f" {_dims_text(dims)}"
        raise ManifestError(f"{file} takes {name!r}, {dtype}{shown}, {_WANTED}")
    places: dict[Layout, int] = {"nchw": 1, "nhwc": 3}
    fitting = [each for each, place in places.items() if dims is None or dims[place] in (3, None)]
    sure = [each for each, place in places.items() if dims is not None and dims[place] == 3]  # noqa: PLR2004
    if wanted in fitting:
        return wanted
    if not fitting or wanted is not None:
        channels = f", not {wanted}" if wanted else ""
        raise ManifestError(
            f"{file} takes {name!r}, {dtype} {_dims_text(dims)}{channels}, {_WANTED}"
        )
    if not sure:
        raise ManifestError(
            f"{file} does not state where the channels of its input {name!r} are: set "
            "--input-layout nchw or nhwc (and the frames' --size), or export it with shapes"
        )
    return sure[0]


def _frame_size(name: str, fixed: Dims, wanted: tuple[int, int] | None) -> tuple[int, int]:
    if wanted is None:
        if None in fixed:
            raise ManifestError(f"{name} takes frames of any size: set one with --size")
        wanted = (int(fixed[0] or 0), int(fixed[1] or 0))
    for got, want in zip(fixed, wanted, strict=True):
        if got not in (None, want) or not 1 <= want <= MAX_SIDE:
            raise ManifestError(f"{name} takes frames of {list(fixed)}, not {list(wanted)}")
    return wanted


def _batch(name: str, batch: int | None) -> int | None:
    if batch is not None and batch > MAX_FIXED_BATCH:
        raise ManifestError(
            f"{name} takes {batch} frames at once, no more and no fewer: export it for one, or for "
            "any number"
        )
    return batch


def _scaling(
    source: SourceModel, dtype: str, options: ImportOptions
) -> tuple[tuple[float, float, float], tuple[float, float, float], str]:
    """Return what to subtract from 0..255, what to divide by, and a description."""
    scale, normalised = options.input_scale, options.mean or options.std
    if dtype == "uint8":
        if normalised or scale not in (None, _WHITE):
            raise ManifestError(
                f"{source.name} takes uint8 frames, which are 0..255 as they come: leave out "
                "--input-scale, --mean and --std"
            )
        return (0, 0, 0), (1, 1, 1), "0..255 as they come"
    if normalised:
        if scale is not None:
            raise ManifestError("--mean and --std need an input in 0..1: leave out --input-scale")
        mean, std = options.mean or (0, 0, 0), options.std or (1, 1, 1)
        red, green, blue = (_WHITE * each for each in mean)
        by_red, by_green, by_blue = (_WHITE * each for each in std)
        text = f"0..1, less {_numbers(mean)}, by {_numbers(std)}"
        return (red, green, blue), (by_red, by_green, by_blue), text
    if scale is None and not ANOMALIB_NAMES & {each.name for each in source.graph.output}:
        raise ManifestError(
            f"{source.name} takes {dtype} frames and does not state their range: set "
            "--input-scale 1 for 0..1, --input-scale 255 for 0..255, or --mean and --std"
        )
    by = _WHITE / (scale or 1)
    text = "0..1 as anomalib exports" if scale is None else f"0..{scale:g}"
    return (0, 0, 0), (by, by, by), text


def _map_form(file: str, name: str, values: NDArray[np.generic], options: ImportOptions) -> MapForm:
    shape = values.shape
    if not _is_map(values):
        raise ManifestError(
            f"{file}'s output {name!r} is {_shape_text(values)} for a frame, expected a map, "
            "float [1, h, w] or [h, w]: name another with --map-output"
        )
    if len(shape) == 3:  # noqa: PLR2004  # [N, h, w]
        return MapForm(name, str(values.dtype), 3, "nchw", None)
    layout: Layout = "nchw" if shape[1] <= shape[3] else "nhwc"
    channels, channel = min(shape[1], shape[3]), options.map_channel
    if channels == 1:
        return MapForm(name, str(values.dtype), 4, layout, None)
    if channel is None or not 0 <= channel < channels:
        raise ManifestError(
            f"{file}'s map {name!r} has {channels} channels, expected 1: choose the defects' "
            f"with --map-channel 0 to {channels - 1}"
        )
    return MapForm(name, str(values.dtype), 4, layout, channel)


def _is_map(values: NDArray[np.generic]) -> bool:
    spread = sum(size > 1 for size in values.shape[1:])
    return str(values.dtype) in _FLOATS and values.ndim in (3, 4) and spread > 1


def _is_score(values: NDArray[np.generic]) -> bool:
    return str(values.dtype) in _FLOATS and values.size == 1


def _named(file: str, name: str, answers: Answers, flag: str) -> NDArray[np.generic]:
    if name not in answers:
        raise ManifestError(
            f"{file} has no output {name!r}: it has {list(answers)}; name one with {flag}"
        )
    return answers[name]


def _dtype_name(elem_type: int) -> str:
    try:
        return str(helper.tensor_dtype_to_np_dtype(elem_type))
    except KeyError:
        return "no tensor"


def _outputs_text(answers: Answers) -> str:
    return ", ".join(f"{name!r} {_shape_text(values)}" for name, values in answers.items())


def _shape_text(values: NDArray[np.generic]) -> str:
    return f"{values.dtype} {list(values.shape)}"


def _dims_text(dims: Dims | None) -> str:
    return "" if dims is None else f"[{', '.join('?' if d is None else str(d) for d in dims)}]"


def _numbers(values: tuple[float, float, float]) -> str:
    return "/".join(f"{value:g}" for value in values)
