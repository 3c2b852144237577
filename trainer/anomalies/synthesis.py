"""Batches to train PRN with: normal pictures, extended and simulated anomalies in fixed shares."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.blend import Anomaly
from trainer.anomalies.extend import Freedom, extend, vary_seen
from trainer.anomalies.foreground import find_foregrounds
from trainer.anomalies.noise import make_noise_bank
from trainer.anomalies.pose import find_likeness
from trainer.anomalies.regions import find_regions
from trainer.anomalies.simulate import LEAST_PIXELS, MOST_BETA, NormalPictures, simulate
from trainer.anomalies.textures import Textures
from trainer.choices import SIMULATED_CERTAINTY
from trainer.errors import DatasetError
from trainer.seen import SeenPictures

IGNORED = np.float32(-1)  # in a mask: no loss is taken of this pixel
_TRIES = 20  # to place an anomaly in what is inspected
_RAW_SHARE = 0.2  # of extended anomalies: the seen picture itself
_MOVED_SHARE = 0.5  # of pictures that look alike from several sides
_RARE_SHARE = 0.1  # of the normal pictures
_RARE_DRAWS = 1 / 3  # of all draws of normal pictures go to those


@dataclass(frozen=True, slots=True)
class SyntheticBatch:
    """What one training step sees: normal pictures, then extended, then simulated anomalies."""

    frames: NDArray[np.uint8]  # [B, H, W, 3], RGB, 0..255
    masks: NDArray[np.float32]  # [B, H, W], 0..1: how surely a pixel shows an anomaly; or IGNORED
    normals: NDArray[np.intp]  # [B], the normal picture under each; -1: a seen anomaly, or moved


@dataclass(frozen=True, slots=True)
class AnomalyKinds:
    """Which anomalies are made (PRN, table 5)."""

    extended: bool = True  # EA
    heterologous: bool = True  # HEA, foreign textures
    homologous: bool = True  # HOA, the part's own texture
    transparent: bool = True  # TA, the normal picture shines through
    certainty: float = SIMULATED_CERTAINTY  # of simulated ones where defects were seen; paper: 1


class Synthesis:
    """Makes batches; a step's batch depends on seed and step alone. Thread-safe: only read."""

    def __init__(
        self,
        normals: NDArray[np.uint8],
        seen: SeenPictures,
        textures: Textures,
        kinds: AnomalyKinds,
        batch_size: int,
        seed: int,
        rarity: NDArray[np.float64] | None = None,
        inspected: NDArray[np.bool_] | None = None,
    ) -> None:
        """Look at the pictures and compute the stock of shapes.

        Args:
            normals: uint8 [N, H, W, 3], kept, not copied.
            seen: defects that training may see; there may be none.
            textures: source of foreign textures, of the pictures' size.
            kinds: which anomalies to make.
            batch_size: a multiple of 4.
            seed: of every random choice.
            rarity: of each normal picture, [N]: the rarest are drawn more often; None: all alike.
            inspected: [H, W], where anomalies may be made and losses are taken; None: everywhere.

        Raises:
            DatasetError: no normal pictures, a batch size that does not divide into quarters, or
                nothing left to make anomalies of.
        """
        if not len(normals) or batch_size < 1 or batch_size % 4:
            raise DatasetError(
                f"{len(normals)} normal pictures in batches of {batch_size}: at least one picture "
                "and batches of a multiple of 4 are needed"
            )
        size = (normals.shape[1], normals.shape[2])
        foregrounds = find_foregrounds(normals)
        self._normals = NormalPictures(normals, foregrounds, find_likeness(normals))
        self._seen = seen
        self._regions = find_regions(seen.pixels, seen.masks, foregrounds is not None)
        self._bank = make_noise_bank(np.random.default_rng(seed), size)
        self._sources = (textures,) * kinds.heterologous + (None,) * kinds.homologous
        likeness = self._normals.likeness
        self._freedom = Freedom(likeness.turns, likeness.roughness, kinds.transparent)
        self._certainty = kinds.certainty
        self._seed = seed
        self._inspected = inspected
        self._shares = draw_shares(rarity) if rarity is not None else None
        self._counts = _counts(batch_size, kinds, len(self._regions))

    def batch(self, step: int) -> SyntheticBatch:
        """Make the batch of a step: half normal, a quarter EA, a quarter SA, in this order."""
        rng = np.random.default_rng([self._seed, step])
        normal, extended, simulated = self._counts
        count, pictures = len(self._normals.pictures), self._normals.pictures
        plain = rng.choice(count, normal, replace=count < normal, p=self._shares)
        bases = rng.choice(count, extended + simulated, p=self._shares)
        bases[:extended][rng.random(extended) < _RAW_SHARE] = -1
        anomalies = [self._placed(self._extended, rng, int(base)) for base in bases[:extended]]
        anomalies += [self._placed(self._simulated, rng, int(base)) for base in bases[extended:]]
        frames = np.concatenate([pictures[plain], [anomaly.frame for anomaly in anomalies]])
        masks = np.zeros(frames.shape[:3], np.float32)
        masks[normal:] = [anomaly.mask for anomaly in anomalies]
        if extended:
            # Merely strange is less than known to be a defect: good parts have stains, too.
            masks[normal + extended :] *= self._certainty
        if self._inspected is not None:
            masks[:, ~self._inspected] = IGNORED
        under = np.concatenate([plain, bases]).astype(np.intp)
        self._move(rng, frames, masks, under)
        return SyntheticBatch(frames, masks, under)

    def _placed(
        self,
        make: Callable[[np.random.Generator, int], Anomaly],
        rng: np.random.Generator,
        base: int,
    ) -> Anomaly:
        """Make an anomaly, cut to what is inspected; drawn anew where too little of it is left."""
        inspected = self._inspected
        if inspected is None or base < 0:
            return make(rng, base)
        normal = self._normals.pictures[base]
        for _ in range(_TRIES):
            anomaly = make(rng, base)
            mask = anomaly.mask & inspected
            if np.count_nonzero(mask) >= LEAST_PIXELS:
                frame = np.where(inspected[..., None], anomaly.frame, normal)
                return Anomaly(np.asarray(frame, np.uint8), np.asarray(mask, np.bool_))
        return Anomaly(normal, np.zeros(inspected.shape, np.bool_))

    def _move(
        self,
        rng: np.random.Generator,
        frames: NDArray[np.uint8],
        masks: NDArray[np.float32],
        under: NDArray[np.intp],
    ) -> None:
        """Turn or mirror pictures in place, where the part could lie so; or leave them."""
        symmetries = self._normals.likeness.symmetries
        if not symmetries:
            return
        for which in np.flatnonzero(rng.random(len(frames)) < _MOVED_SHARE):
            move = symmetries[rng.integers(len(symmetries))]
            frames[which], masks[which] = move(frames[which]).copy(), move(masks[which]).copy()
            under[which] = -1  # what it has become is no part of any prototype

    def _extended(self, rng: np.random.Generator, base: int) -> Anomaly:
        if base < 0:
            which = rng.integers(len(self._seen.pixels))
            return vary_seen(rng, self._seen.pixels[which], self._seen.masks[which])
        normals = self._normals
        foreground = normals.foreground(base)
        return extend(rng, normals.pictures[base], foreground, self._regions, self._freedom)

    def _simulated(self, rng: np.random.Generator, base: int) -> Anomaly:
        source = self._sources[rng.integers(len(self._sources))]
        most_beta = MOST_BETA if self._freedom.transparent else 0.0
        return simulate(rng, self._normals, base, self._bank, source, most_beta)


def draw_shares(rarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each normal picture is drawn, [N], sum 1.

    `_RARE_DRAWS` of all draws go to the rarest `_RARE_SHARE` of the pictures, the others to all:
    a normal part that is unlike the rest would else be learned too seldom to be known as normal.
    """
    count = len(rarity)
    rare = np.argsort(-rarity, kind="stable")[: max(1, round(_RARE_SHARE * count))]
    shares = np.full(count, (1 - _RARE_DRAWS) / count)
    shares[rare] += _RARE_DRAWS / len(rare)
    return shares


def _counts(batch_size: int, kinds: AnomalyKinds, regions: int) -> tuple[int, int, int]:
    """Pictures of each group: normal, EA, SA; a group that is off leaves its share to the other."""
    extends = kinds.extended and regions > 0
    simulates = kinds.heterologous or kinds.homologous
    if not (extends or simulates):
        raise DatasetError(
            "nothing to make anomalies of: no seen anomalies with a mask, and simulated ones are "
            "switched off"
        )
    half, quarter = batch_size // 2, batch_size // 4
    if not extends:
        return half, 0, half
    return (half, quarter, quarter) if simulates else (half, half, 0)
