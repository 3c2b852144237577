"""Simulated anomalies (SA): foreign textures (HEA) and the part's own, out of place (HOA)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.augment import (
    augment_source,
    bend,
    retone,
    shift_picture,
    shift_tones,
    shuffle_grid,
    to_grey,
)
from trainer.anomalies.blend import (
    Anomaly,
    Mask,
    Pixels,
    box_around,
    changed_pixels,
    move_mask,
    paste,
    shown_enough,
    standing_out,
)
from trainer.anomalies.noise import NoiseBank
from trainer.anomalies.pose import Likeness
from trainer.anomalies.shapes import draw_shape
from trainer.anomalies.textures import Textures

MOST_BETA = 0.8  # opacity of the normal picture under a simulated anomaly
LEAST_PIXELS = 16  # a smaller anomaly is drawn anew
_TRIES = 10
_OPAQUE_FROM = 4  # the try from which on nothing shines through
_PADDING = 4  # pixels around the box of a mask: the feather ends within
_LEAST_LEFT = 0.2  # share of a shape that must lie on the part
_ON_PART_SHARE = 0.8  # of objects' anomalies: only on the part
_TONED_SHARE = 0.3  # of foreign textures: brought near the picture's own tone
_HOMOLOGOUS = {"shuffled": 0.35, "moved": 0.2, "retoned": 0.3, "bent": 0.15}
_LEAST_TONE = 14.0  # grey levels


@dataclass(frozen=True, slots=True)
class NormalPictures:
    """The normal pictures and what is known of them."""

    pictures: NDArray[np.uint8]  # [N, H, W, 3]
    foregrounds: NDArray[np.bool_] | None  # [N, H, W]; None: everywhere
    likeness: Likeness

    def foreground(self, index: int) -> Mask | None:
        """Where the part is in a picture; None: everywhere."""
        return None if self.foregrounds is None else self.foregrounds[index]


def simulate(
    rng: np.random.Generator,
    normals: NormalPictures,
    index: int,
    bank: NoiseBank,
    textures: Textures | None,
    most_beta: float = MOST_BETA,
) -> Anomaly:
    """Make an anomaly on a normal picture: of a foreign texture, or homologous without one.

    Shape and source are drawn anew, less transparent each time, until the anomaly can be seen;
    the last try counts.

    Args:
        rng: draws everything.
        normals: the normal pictures.
        index: of the one to change.
        bank: of Perlin fields for shapes.
        textures: source of foreign textures; None: use the part's own.
        most_beta: largest opacity of the normal picture under the anomaly, 0..1.
    """
    base = normals.pictures[index]
    part = normals.foreground(index) if rng.random() < _ON_PART_SHARE else None
    anomaly = Anomaly(base, np.zeros(base.shape[:2], np.bool_))
    for trial in range(_TRIES):
        mask = _draw_mask(rng, bank, part)
        if mask is None:
            continue
        if textures is None:
            source = homologous_source(rng, normals, index)
        else:
            source = heterologous_source(rng, textures, base, normals.likeness)
        beta = rng.uniform(0, most_beta) * max(0.0, 1 - trial / _OPAQUE_FROM)
        anomaly, visible = _pasted(rng, base, source, mask, beta, normals.likeness.roughness)
        if visible:
            return anomaly
    return anomaly


def _draw_mask(rng: np.random.Generator, bank: NoiseBank, part: Mask | None) -> Mask | None:
    """Draw a shape, moved onto the part and cut to it; None where too little of it is left."""
    mask = draw_shape(rng, bank)
    drawn = np.count_nonzero(mask)
    if part is not None and drawn and part.any():
        start, end = _draw_pixel(rng, mask), _draw_pixel(rng, part)
        mask = move_mask(mask, end[0] - start[0], end[1] - start[1]) & part
    return mask if np.count_nonzero(mask) >= max(LEAST_PIXELS, _LEAST_LEFT * drawn) else None


def _draw_pixel(rng: np.random.Generator, mask: Mask) -> tuple[int, int]:
    """Row and column of a pixel of a mask that is not empty."""
    inside = np.flatnonzero(mask)
    row, column = divmod(int(inside[rng.integers(len(inside))]), mask.shape[1])
    return row, column


def _pasted(
    rng: np.random.Generator,
    base: Pixels,
    source: Pixels,
    mask: Mask,
    beta: float,
    roughness: float,
) -> tuple[Anomaly, bool]:
    """Paste what stands out, within the mask's box; gives the anomaly and if it can be seen."""
    box = box_around(mask, _PADDING)
    below, above, mask = base[box], source[box], mask[box]
    feather = float(rng.choice((0.0, 0.6, 1.0)))
    pasted = paste(below, above, mask, beta, feather)
    kept = standing_out(below, pasted, mask, roughness)
    visible = bool(kept.any())
    if visible and not np.array_equal(kept, mask):
        mask, pasted = kept, paste(below, above, kept, beta, feather)
    shown = changed_pixels(below, pasted, mask)
    frame, whole = base.copy(), np.zeros(base.shape[:2], np.bool_)
    frame[box], whole[box] = pasted, shown
    return Anomaly(frame, whole), visible and shown_enough(shown, mask, LEAST_PIXELS)


def heterologous_source(
    rng: np.random.Generator, textures: Textures, base: Pixels, likeness: Likeness
) -> Pixels:
    """Draw a foreign texture, augmented; without colours where the pictures have none."""
    source = augment_source(rng, textures.draw(rng))
    if likeness.grey:
        source = to_grey(source)
    if rng.random() < _TONED_SHARE:
        toward = np.subtract(cv2.mean(base)[:3], cv2.mean(source)[:3])
        if likeness.grey:
            toward = np.full(3, toward.mean())
        return shift_tones(source, rng.uniform(0.5, 1) * toward)
    return source


def homologous_source(rng: np.random.Generator, normals: NormalPictures, index: int) -> Pixels:
    """Make an anomaly source of this normal picture or another one.

    Shuffled: augmented and cut into a shuffled grid. Moved: shifted content, which over an object
    is often background, as where a part is missing. Retoned: darker or brighter in place, as
    scratches and stains. Bent: displaced in place, as dents.
    """
    own = normals.pictures[index]
    other = normals.pictures[rng.integers(len(normals.pictures))]
    kind = rng.choice(list(_HOMOLOGOUS), p=list(_HOMOLOGOUS.values()))
    if kind == "shuffled":
        source = shuffle_grid(rng, augment_source(rng, other if rng.random() < 0.5 else own))  # noqa: PLR2004
    elif kind == "moved":
        source = missing_source(rng, own, other, normals.foreground(index))
    elif kind == "retoned":
        source = retone(rng, own, _LEAST_TONE + normals.likeness.roughness)
    else:
        source = bend(rng, own, max(2.0, min(own.shape[:2]) * rng.uniform(0.02, 0.08)))
    return to_grey(source) if normals.likeness.grey else source


def missing_source(
    rng: np.random.Generator, own: Pixels, other: Pixels, foreground: Mask | None
) -> Pixels:
    """Shift a picture, or, for objects in half of all cases, show what lies behind the part."""
    if foreground is None or foreground.all() or rng.random() < 0.5:  # noqa: PLR2004
        return shift_picture(rng, other)
    background = (~foreground).view(np.uint8)
    mean, spread = cv2.meanStdDev(own, mask=background)
    grain = rng.normal(0, 1, (*own.shape[:2], 1)) * min(2.0, float(spread.mean()))
    return np.clip(mean.reshape(3) + grain, 0, 255).astype(np.uint8)
