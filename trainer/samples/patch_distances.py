"""How odd the places of pictures are: their distances to places of other pictures.

A place is one of 32 x 32 in a picture of 256 x 256; its feature joins the three scales of a frozen
backbone, unit length. Each place is compared with a random share of the places of the reference
pictures, its own left out. A share, because what is rare there (the defects among them) is then
mostly absent, while what is usual is in it many times over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.errors import PictureError
from engines.pictures.read import read_picture, resize_picture
from trainer.networks.proto_ad import PatchEncoder
from trainer.samples.quarantine import Nearest

SIDE = 256  # pixels, of what is compared
_LEAST_COMPARED, _MOST_COMPARED = 8192, 32_768  # places of the references together
_PICTURES_PLACES = 2_000_000  # of few pictures more places are compared: they cost no more time
_LEAST_EACH = 8  # of each reference
_NEAREST = 12  # of which some may turn out not to be trusted
_ODDEST = 64  # places kept of each picture
_BATCH = 8


@dataclass(frozen=True, slots=True)
class _Bank:
    places: Tensor  # float32 [M, C], unit
    owners: Tensor  # int64 [M], which reference each is of


def find_nearest(
    encoder: PatchEncoder,
    pictures: Sequence[Path],
    references: NDArray[np.intp],
    seed: int,
    on_picture: Callable[[int], None] = lambda _: None,
) -> Nearest:
    """Find, for the oddest places of every picture, the nearest places of the references.

    Args:
        encoder: frozen.
        pictures: files, N of them; one that cannot be read is far from everything.
        references: indices of those to compare with, rising.
        seed: of the places drawn from them.
        on_picture: called with a number of pictures that were looked at: N + len(references).
    """
    compared = min(max(_PICTURES_PLACES // max(1, len(pictures)), _LEAST_COMPARED), _MOST_COMPARED)
    each = max(_LEAST_EACH, compared // max(1, len(references)))
    bank = _drawn(encoder, pictures, references, each, seed, on_picture)
    count = min(_NEAREST, len(bank.places))
    distances = np.full((len(pictures), _ODDEST, count), 2, np.float32)
    owners = np.full((len(pictures), _ODDEST, count), -1, np.int32)
    for index, places in _encoded(encoder, pictures, range(len(pictures))):
        similarity = places @ bank.places.T  # [h * w, M]
        similarity[:, bank.owners == index] = -1
        found = similarity.topk(count, dim=1)
        oddest = found.values[:, min(2, count - 1)].topk(min(_ODDEST, len(places)), largest=False)
        kept = oddest.indices
        distances[index, : len(kept)] = 1 - found.values[kept].numpy()
        owners[index, : len(kept)] = bank.owners[found.indices[kept]].numpy()
        on_picture(1)
    return Nearest(distances, owners)


def _drawn(
    encoder: PatchEncoder,
    pictures: Sequence[Path],
    references: NDArray[np.intp],
    each: int,
    seed: int,
    on_picture: Callable[[int], None],
) -> _Bank:
    generator = torch.Generator().manual_seed(seed)
    drawn, owners = [], []
    for index, places in _encoded(encoder, pictures, references.tolist()):
        chosen = torch.randperm(len(places), generator=generator)[:each]
        drawn.append(places[chosen])
        owners.append(torch.full((len(chosen),), index))
        on_picture(1)
    return _Bank(torch.cat(drawn), torch.cat(owners))


def _encoded(
    encoder: PatchEncoder, pictures: Sequence[Path], which: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """Yield places, float32 [h * w, C] unit, of each picture that can be read."""
    for start in range(0, len(which), _BATCH):
        frames: list[NDArray[np.uint8]] = []
        read: list[int] = []
        for index in which[start : start + _BATCH]:
            try:
                frames.append(resize_picture(read_picture(pictures[index]), (SIDE, SIDE)))
            except PictureError:
                continue
            read.append(index)
        if read:
            yield from zip(read, _places(encoder, np.stack(frames)), strict=True)


def _places(encoder: PatchEncoder, frames: NDArray[np.uint8]) -> Tensor:
    """Encode uint8 [B, H, W, 3]: float32 [B, H/8 * W/8, C], unit."""
    with torch.inference_mode():
        fine, middle, coarse = encoder(torch.from_numpy(frames))
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        joined = torch.cat([functional.avg_pool2d(fine, 2), middle, coarse], dim=1)
        return functional.normalize(joined, dim=1).flatten(2).transpose(1, 2)
