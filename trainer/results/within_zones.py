"""Judged pictures as zones see them: scores, maps and masks of inspected pixels only."""

from dataclasses import replace

import numpy as np

from trainer.dataset import GOOD, Pictures
from trainer.errors import DatasetError
from trainer.results.evaluation import ScoredPictures
from trainer.zones import PictureZones


def within_zones(scored: ScoredPictures, zones: PictureZones) -> ScoredPictures:
    """Replace each score by the highest map value / factor of the inspected pixels.

    A defect whose mask lies wholly in ignored pixels is taken out and named in `ignored`.

    Raises:
        DatasetError: zones drawn on another size, or no picture is left.
    """
    zones.check_fit(scored.pictures)
    inspected = zones.inspected
    masks = [None if mask is None else mask & inspected for mask in scored.masks]
    samples = scored.pictures.samples
    kept = [
        place
        for place, (sample, before, mask) in enumerate(
            zip(samples, scored.masks, masks, strict=True)
        )
        if sample.kind == GOOD or before is None or mask is None or not before.any() or mask.any()
    ]
    if not kept:
        raise DatasetError("every test picture is a defect in an ignored zone: nothing to judge")
    ignored = sorted(set(range(len(samples))) - set(kept))
    return replace(
        scored,
        pictures=_chosen(scored.pictures, kept),
        scores=zones.pixels.peaks(scored.maps[kept]),
        maps=zones.pixels.without_ignored(scored.maps[kept]),
        masks=tuple(masks[place] for place in kept),
        ignored=tuple(samples[place].name for place in ignored),
        zones=zones,
    )


def _chosen(pictures: Pictures, kept: list[int]) -> Pictures:
    return replace(
        pictures,
        samples=tuple(pictures.samples[place] for place in kept),
        pixels=pictures.pixels[np.asarray(kept)],
        shas=tuple(pictures.shas[place] for place in kept if pictures.shas),
        shapes=tuple(pictures.shapes[place] for place in kept if pictures.shapes),
    )
