"""Find the map's range and the thresholds of a model of another project, or request them."""

from collections.abc import Sequence

import numpy as np

from engines.conversion.conformal import conformal_threshold
from engines.conversion.foreign.form import ANOMALIB_NAMES, MapForm, ScoreForm
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.foreign.trial import Judged
from engines.conversion.foreign.wrap import MapRange
from engines.errors import ManifestError
from engines.manifest import Thresholds

_SLACK = 1e-3  # sums of float32 may leave 0..1 by this
_LEAST_TOP = 0.01  # smallest span of good parts' maps in 0..1; less means another unit
_MIDDLE = 0.5  # the thresholds of anomalib's exporter


def check_numbers(name: str, judged: Sequence[Judged]) -> None:
    """Raise ManifestError if a model returns no finite value, or a constant map.

    A map of 0 or 1 everywhere may be clipped there: admission checks it on pictures.
    """
    if not any(np.isfinite(each.maps).any() and np.isfinite(each.scores).any() for each in judged):
        raise ManifestError(
            f"{name} returns no finite number for any frame: its thresholds or weights are "
            "NaN; validate it before it is exported, then export it again"
        )
    values = [each.map_values for each in judged]
    low, high = min(low for low, _ in values), max(high for _, high in values)
    if low == high and low not in (0, 1):
        raise ManifestError(
            f"{name}'s map is {low:g} everywhere on every frame tried: it shows nothing; name "
            "another output with --map-output, or check --input-scale"
        )


def find_range(
    name: str, of_map: MapForm, drawn: Judged, good: Judged | None, options: ImportOptions
) -> MapRange:
    """Decide how the map's values are scaled to 0..1.

    Raises:
        ManifestError: they leave 0..1, and their range is unknown.
    """
    if options.map_range is not None:
        low, high = options.map_range
        if not low < high:
            raise ManifestError(f"--map-range {low:g},{high:g}: give the lower value first")
        return MapRange(low, high)
    judged = [each for each in (drawn, good) if each is not None]
    values = [each.map_values for each in judged]
    low, high = min(low for low, _ in values), max(high for _, high in values)
    inside = low >= -_SLACK and high <= 1 + _SLACK
    if good is not None:
        base, top = good.map_values
        if not inside or top < _LEAST_TOP:
            if not base < top:
                raise ManifestError(f"{name}'s map is {base:g} everywhere on every good picture")
            return MapRange(base, top, curved=True)
    if inside:
        return MapRange()
    raise ManifestError(
        f"{name}'s map {of_map.name!r} has values of {low:.4g}..{high:.4g}, expected 0..1: "
        "calibrate it on pictures of good parts with --good-images, or set its range with "
        "--map-range LOW,HIGH"
    )


def find_thresholds(
    name: str,
    forms: tuple[ScoreForm, MapForm],
    drawn: Judged,
    good: Judged | None,
    values: MapRange,
    options: ImportOptions,
) -> Thresholds:
    """Decide the thresholds: as given, calibrated on good pictures, or anomalib's.

    Raises:
        ManifestError: none of these is available.
    """
    image, rate, image_method = _image(forms, drawn, good, values, options)
    pixel, pixel_method = _pixel(forms[1], good, values, options)
    missing = [
        flag
        for flag, found in (("--image-threshold", image), ("--pixel-threshold", pixel))
        if found is None
    ]
    if image is None or pixel is None:
        raise ManifestError(
            f"{name} has no known thresholds: calibrate it on pictures of good parts "
            f"with --good-images, or give {' and '.join(missing)}"
        )
    return Thresholds(
        image=image,
        pixel=pixel,
        method=f"image: {image_method}; pixel: {pixel_method}",
        normals=len(good.scores) if good is not None else 0,
        false_reject_rate=rate,
    )


def _image(
    forms: tuple[ScoreForm, MapForm],
    drawn: Judged,
    good: Judged | None,
    values: MapRange,
    options: ImportOptions,
) -> tuple[float | None, float | None, str]:
    """Return the image threshold, the promised rate and the method in words."""
    if options.image_threshold is not None:
        return options.image_threshold, None, "given at the import"
    if good is not None:
        threshold, rate = conformal_threshold(good.scores, options.false_reject_rate)
        text = (
            f"{len(good.scores)} good pictures given at the import support {rate:.2%} false "
            "rejects, if the model was not trained on them"
        )
        return threshold, rate, text
    score, of_map = forms
    named = score.name or of_map.name
    scores = drawn.scores[np.isfinite(drawn.scores)]
    in_middle = named in ANOMALIB_NAMES and scores.min() >= -_SLACK and scores.max() <= 1 + _SLACK
    if in_middle and (score.name is not None or values == MapRange()):
        return _MIDDLE, None, "0.5, as anomalib's exporter sets it, not calibrated here"
    return None, None, ""


def _pixel(
    of_map: MapForm, good: Judged | None, values: MapRange, options: ImportOptions
) -> tuple[float | None, str]:
    if options.pixel_threshold is not None:
        return options.pixel_threshold, "given at the import"
    if good is not None:
        peaks = values.apply(good.maps).max(axis=(1, 2))
        return float(np.median(peaks)), "median of the good pictures' highest map values"
    if of_map.name in ANOMALIB_NAMES and values == MapRange():
        return _MIDDLE, "0.5, as anomalib's exporter sets it"
    return None, ""
