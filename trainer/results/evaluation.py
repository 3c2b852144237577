"""An engine judged on labelled pictures: figures, and who was wrongly let through or rejected."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import Engine
from engines.manifest import Thresholds
from engines.pictures.files import NO_FILES, FileAccount
from trainer.dataset import GOOD, Pictures, resize_mask
from trainer.errors import DatasetError, MaskError
from trainer.export.calibrate import Costs, cost_threshold, expected_cost
from trainer.groups import fingerprints, picture_keys
from trainer.near_duplicates import near_duplicates
from trainer.results.metrics import KindCount, PixelFigures, auroc, counts_by_kind, pixel_figures
from trainer.results.plant_figures import (
    PlantFigures,
    PromiseFigures,
    Share,
    plant_figures,
    promise_figures,
    share,
)
from trainer.truth import cover, read_truth
from trainer.zones import PictureZones

UNLIKE_SEEN = "unlike seen"  # the defects that no seen one resembles
_BATCH = 8


@dataclass(frozen=True, slots=True)
class ScoredPictures:
    """What an engine says of N pictures."""

    pictures: Pictures
    scores: NDArray[np.float32]  # [N]
    maps: NDArray[np.float32]  # [N, H, W]
    masks: tuple[NDArray[np.bool_] | None, ...]  # [H, W] each; None where no mask is known
    refused_masks: tuple[str, ...] = ()  # one sentence for each mask that is of no use
    doubtful_masks: tuple[str, ...] = ()  # one for each that marks most of its picture
    ignored: tuple[str, ...] = ()  # defects that were taken out, wholly in ignored pixels
    zones: PictureZones | None = None  # by which the others were judged


@dataclass(frozen=True, slots=True)
class TruthMasks:
    """The true masks of pictures, and what is wrong with them."""

    masks: tuple[NDArray[np.bool_] | None, ...]  # [H, W] each; None where no mask is known
    refused: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DefectFigures:
    """How well some of the defects are found among all normal pictures."""

    name: str
    pictures: int  # defective ones
    image_auroc: float
    pixel: PixelFigures  # of those whose mask is known
    overlap: float  # mean intersection over union of predicted and true mask
    escapes: Share


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good that is. Fractions, 0..1; NaN where a class is absent."""

    pictures: int
    image_auroc: float
    pixel: PixelFigures
    overlap: float  # mean intersection over union of predicted and true mask, defects only
    threshold: float
    pixel_threshold: float
    kinds: tuple[KindCount, ...]
    plant: PlantFigures
    defects: tuple[DefectFigures, ...]  # by kind
    apart: DefectFigures | None  # defects unlike every seen one; None if none were seen
    seen: int  # defects that the engine learned from and that were not judged
    without_mask: int  # defects that the pixel figures leave out
    unreadable: tuple[str, ...]
    refused_masks: tuple[str, ...] = ()  # masks of no use, counted in `without_mask` too
    doubtful_masks: tuple[str, ...] = ()  # masks that mark most of their picture
    notes: tuple[str, ...] = ()  # what was not taken as the files hold it
    ignored: tuple[str, ...] = ()  # defects wholly in ignored zones, which are in no figure


@dataclass(frozen=True, slots=True)
class _Labelled:
    """What the figures of any subset need."""

    scores: NDArray[np.float32]  # [N]
    maps: NDArray[np.float32]  # [N, H, W]
    masks: NDArray[np.bool_]  # [N, H, W], empty where it is not known
    known: NDArray[np.bool_]  # [N], whether the mask is
    defective: NDArray[np.bool_]  # [N]
    overlaps: NDArray[np.float64]  # [N], NaN where no mask is known or there is no defect
    inspected: NDArray[np.bool_] | None = None  # [H, W]; None: all of it


def score_pictures(
    engine: Engine, pictures: Pictures, on_picture: Callable[[int], None] = lambda _: None
) -> ScoredPictures:
    """Score pictures with an engine and read their masks.

    Args:
        engine: whose input size the pictures have.
        pictures: N of them.
        on_picture: called with a number of pictures that were judged.
    """
    size = engine.input_size
    count = len(pictures.samples)
    scores = np.empty(count, np.float32)
    maps = np.empty((count, *size), np.float32)
    batch = min(_BATCH, engine.max_batch)
    for start in range(0, count, batch):
        some = slice(start, min(start + batch, count))
        answer = engine.score(pictures.pixels[some])
        scores[some], maps[some] = answer.score, answer.maps
        on_picture(some.stop - start)
    truth = known_masks(pictures, size)
    return ScoredPictures(pictures, scores, maps, truth.masks, truth.refused, truth.doubtful)


def known_masks(pictures: Pictures, size: tuple[int, int]) -> TruthMasks:
    """Read the mask of each picture at `size`; None for a defect whose mask is of no use."""
    masks: list[NDArray[np.bool_] | None] = []
    refused: list[str] = []
    doubtful: list[str] = []
    for sample, shape in zip(pictures.samples, pictures.shapes, strict=True):
        if sample.kind == GOOD:
            masks.append(np.zeros(size, np.bool_))
            continue
        try:
            truth = read_truth(sample, shape)
        except MaskError as error:
            masks.append(None)
            if sample.mask is not None:
                refused.append(str(error))
            continue
        masks.append(resize_mask(truth, size))
        if doubt := cover(sample, truth):
            doubtful.append(doubt)
    return TruthMasks(tuple(masks), tuple(refused), tuple(doubtful))


def evaluate(
    scored: ScoredPictures,
    threshold: float,
    pixel_threshold: float,
    seen_masks: NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Compute all figures at the given thresholds.

    Args:
        scored: pictures that the engine has not learned from.
        threshold: of the scores.
        pixel_threshold: of the maps.
        seen_masks: [S, H, W] of the defects that it has learned from.
    """
    kinds = np.array([sample.kind for sample in scored.pictures.samples])
    labelled = _labelled(scored, kinds != GOOD, pixel_threshold)
    everything = _defect_figures("all", labelled, labelled.defective, threshold)
    areas = labelled.masks.sum(axis=(1, 2))
    seen = np.empty((0, *scored.maps.shape[1:]), np.bool_) if seen_masks is None else seen_masks
    return Evaluation(
        pictures=len(kinds),
        image_auroc=everything.image_auroc,
        pixel=everything.pixel,
        overlap=everything.overlap,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        kinds=tuple(counts_by_kind(scored.scores, kinds.tolist(), threshold)),
        plant=plant_figures(labelled.scores, labelled.defective, areas, threshold),
        defects=tuple(
            _defect_figures(str(kind), labelled, kinds == kind, threshold)
            for kind in dict.fromkeys(kinds[labelled.defective].tolist())
        ),
        apart=_apart(labelled, seen, threshold) if len(seen) else None,
        seen=len(seen),
        without_mask=int((~labelled.known).sum()),
        unreadable=scored.pictures.unreadable,
        refused_masks=scored.refused_masks,
        doubtful_masks=scored.doubtful_masks,
        notes=scored.pictures.notes,
        ignored=scored.ignored,
    )


@dataclass(frozen=True, slots=True)
class ThresholdCosts:
    """What errors cost at an engine's threshold, and at the cheapest for the same pictures."""

    expected: float  # of a part, at the engine's threshold
    cheapest_threshold: float
    cheapest: float  # of a part, at that one


def weigh_thresholds(scored: ScoredPictures, threshold: float, costs: Costs) -> ThresholdCosts:
    """Weigh errors at `threshold` and find the threshold of least cost.

    Raises:
        DatasetError: no normal or no defective pictures.
    """
    defective = np.array([sample.kind != GOOD for sample in scored.pictures.samples])
    if defective.all() or not defective.any():
        raise DatasetError("costs of errors need test pictures of good parts and of defects")
    normals, defects = scored.scores[~defective], scored.scores[defective]
    cheapest, least = cost_threshold(normals, defects, costs)
    return ThresholdCosts(expected_cost(normals, defects, costs, threshold), cheapest, least)


def check_promise(scored: ScoredPictures, thresholds: Thresholds) -> PromiseFigures | None:
    """Compare the promised rate of false rejects with the good test pictures.

    Returns: None if nothing was promised, or no good part is among the pictures.
    """
    pictures = scored.pictures
    good = [place for place, sample in enumerate(pictures.samples) if sample.kind == GOOD]
    if thresholds.false_reject_rate is None or not good:
        return None
    samples = [pictures.samples[place] for place in good]
    shas = [pictures.shas[place] for place in good] if pictures.shas else ()
    keys = picture_keys(samples, fingerprints(pictures.pixels[good]), shas)
    limit = thresholds.image if scored.zones is None else thresholds.peak
    if limit is None:
        return None
    rejected = scored.scores[good] > limit
    return promise_figures(thresholds.false_reject_rate, thresholds.method, rejected, keys)


def evaluation_json(
    evaluation: Evaluation,
    costs: ThresholdCosts | None = None,
    files: FileAccount = NO_FILES,
    promise: PromiseFigures | None = None,
) -> str:
    """Write one JSON object; a figure that does not exist is null."""
    figures = asdict(evaluation) | {
        "costs": asdict(costs) if costs else None,
        "promise": asdict(promise) if promise else None,
        "files": files.as_json(),
    }
    return json.dumps(_finite(figures), indent=2, allow_nan=False) + "\n"


def overlaps(predicted: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of each pair of masks [N, H, W] -> [N]; NaN where both are empty."""
    union = (predicted | masks).sum(axis=(1, 2))
    shared = (predicted & masks).sum(axis=(1, 2))
    overlap = np.full(len(masks), np.nan)
    np.divide(shared, union, out=overlap, where=union > 0)
    return overlap


def _labelled(
    scored: ScoredPictures, defective: NDArray[np.bool_], pixel_threshold: float
) -> _Labelled:
    known = np.array([mask is not None for mask in scored.masks])
    masks = np.zeros(scored.maps.shape, np.bool_)
    for index, mask in enumerate(scored.masks):
        if mask is not None:
            masks[index] = mask
    overlap = np.full(len(known), np.nan)
    zones = None if scored.zones is None else scored.zones.pixels
    limit = pixel_threshold if zones is None else zones.pixel_limit(pixel_threshold)
    for which in np.flatnonzero(known & defective):
        found = scored.maps[which] > limit
        overlap[which] = overlaps(found[None], masks[which][None])[0]
    inspected = None if zones is None else zones.inspected
    return _Labelled(scored.scores, scored.maps, masks, known, defective, overlap, inspected)


def _defect_figures(
    name: str, labelled: _Labelled, chosen: NDArray[np.bool_], threshold: float
) -> DefectFigures:
    """Judge the defects that are `chosen` [N] among all normal pictures."""
    among = chosen | ~labelled.defective
    found = labelled.overlaps[chosen & labelled.known]
    return DefectFigures(
        name=name,
        pictures=int(chosen.sum()),
        image_auroc=auroc(labelled.scores[among], chosen[among]),
        pixel=pixel_figures(
            labelled.maps,
            labelled.masks,
            np.flatnonzero(among & labelled.known),
            inspected=labelled.inspected,
        ),
        overlap=float(found.mean()) if found.size else float("nan"),
        escapes=share(labelled.scores[chosen] <= threshold),
    )


def _apart(labelled: _Labelled, seen: NDArray[np.bool_], threshold: float) -> DefectFigures:
    near = near_duplicates(labelled.masks, seen)
    unlike = labelled.defective & labelled.known & ~near
    return _defect_figures(UNLIKE_SEEN, labelled, unlike, threshold)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
