"""A sheet for people of what a network would be trained with: normal, EA, HEA, HOA."""

import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.synthesis import Batch, Switches, Synthesis
from trainer.anomalies.textures import Textures
from trainer.results.sheets import CAPTION, TRUTH, outline, write_text
from trainer.seen import SeenPictures

Pixels = NDArray[np.uint8]

_KINDS = {
    "EA, extended": Switches(heterologous=False, homologous=False),
    "HEA, foreign texture": Switches(extended=False, homologous=False),
    "HOA, own texture": Switches(extended=False, heterologous=False),
}


def draw_anomalies(
    normals: Pixels, seen: SeenPictures, textures: Textures, rows: int, seed: int
) -> Pixels:
    """Draw `rows` normal pictures and as many anomalies of each kind, plain and outlined.

    Args:
        normals: uint8 [N, H, W, 3].
        seen: defects to extend; without any there is no column for them.
        textures: source of foreign textures.
        rows: examples of each kind.
        seed: of every random choice.

    Returns: uint8 [H, W, 3] RGB.
    """
    columns: list[Pixels] = []
    for name, switches in _KINDS.items():
        if switches.extended and not seen.masks.any():
            continue
        size = 4 * -(-rows // 2)
        synthesis = Synthesis(normals, seen, textures, switches, size, seed)
        batch = synthesis.batch(0)
        if not columns:
            columns.append(_column("normal", batch.frames[:rows]))
        columns += _anomalies(name, batch, rows)
    return np.concatenate(columns, axis=1)


def _anomalies(name: str, batch: Batch, rows: int) -> list[Pixels]:
    first = len(batch.frames) // 2
    shown = slice(first, first + rows)
    outlined = batch.frames[shown].copy()
    for picture, mask in zip(outlined, batch.masks[shown], strict=True):
        outline(picture, mask > 0, TRUTH)
    return [_column(name, batch.frames[shown]), _column("what changed", outlined)]


def _column(name: str, pictures: Pixels) -> Pixels:
    heading = np.full((CAPTION, pictures.shape[2], 3), 255, np.uint8)
    write_text(heading, name, (4, 14))
    return np.concatenate([heading, *pictures])
