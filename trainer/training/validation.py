"""When a training should stop: what held-out pictures say of the averaged weights."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.anomalies.synthesis import IGNORED
from trainer.errors import DatasetError
from trainer.groups import NAMED, draw_groups
from trainer.networks.prn import PRN
from trainer.training.batches import Batch
from trainer.training.checkpoint import ValidationLoss
from trainer.training.training_step import map_loss

NORMAL_SHARE = 0.12  # of the normal pictures, held out
SEEN_SHARE = 0.1  # of the seen defects
LEAST_SEEN = 20  # of fewer, none is held out: each is worth more to learn from
_LEAST_LEARNED = 2  # pictures
_KEPT = 2.0  # where groups fall that are never held out
_BATCH = 8
_CLEARLY = 0.05  # share by which a loss is more than another

NORMAL, DRAWN, SEEN = range(3)  # groups


@dataclass(frozen=True, slots=True)
class ValidationSplit:
    """Which of a number of pictures are learned and which are held out; both sorted."""

    learned: NDArray[np.intp]
    held: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Pictures that are not learned, in groups that count alike: normal, drawn, seen defects."""

    frames: NDArray[np.uint8]  # [N, H, W, 3]
    masks: NDArray[np.float32]  # [N, H, W]
    groups: NDArray[np.intp]  # [N], 0..G-1


def split_normals(keys: Sequence[str], seed: int, kept: Collection[str] = ()) -> ValidationSplit:
    """Draw groups of normal pictures to hold out, one at least where two pictures remain.

    Args:
        keys: [N], the group of each picture.
        seed: of the draw.
        kept: groups to learn from in any case, as seen defects are of them.
    """
    if len(keys) <= _LEAST_LEARNED:
        return ValidationSplit(np.arange(len(keys)), np.arange(0))
    held = draw_groups(keys, NORMAL_SHARE, seed, kept)
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def split_seen(keys: Sequence[str], seed: int, normals: Collection[str] = ()) -> ValidationSplit:
    """Draw groups of seen defects to hold out, one at least of twenty pictures.

    One of a group that normal pictures are of too is always learned: those may be.
    """
    free = len(set(keys) - set(normals))
    if len(keys) < LEAST_SEEN or not free or len(set(keys)) == 1:
        return ValidationSplit(np.arange(len(keys)), np.arange(0))
    held = draw_groups(keys, SEEN_SHARE, seed, normals)
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def split_normals_by_content(
    shas: Sequence[str], keys: Sequence[str] | None = None, kept: Collection[str] = ()
) -> ValidationSplit:
    """Hold normal pictures out by their pixels or their named group alone, whatever others come.

    So a network that goes on learning is not calibrated on what it learned before. Copies are held
    out where all of them fall among the held-out. Only where none does is the nearest one taken.

    Raises:
        DatasetError: seen defects are of every group.
    """
    keys = shas if keys is None else keys
    places = _group_places(shas, keys, kept)
    held = places < NORMAL_SHARE
    if not held.any():
        held = places == places.min()
    if places[held].max(initial=0) > 1:
        raise DatasetError(
            "seen defects are of every group of normal pictures, so that none can be held out: "
            "add pictures of other parts"
        )
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def split_seen_by_content(
    shas: Sequence[str], keys: Sequence[str] | None = None, normals: Collection[str] = ()
) -> ValidationSplit:
    """Hold seen defects out likewise; of few, there may be none."""
    held = _group_places(shas, shas if keys is None else keys, normals) < SEEN_SHARE
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def make_validation_set(
    normals: NDArray[np.uint8],
    drawn: Batch,
    seen: NDArray[np.uint8],
    seen_masks: NDArray[np.bool_],
    inspected: NDArray[np.bool_] | None = None,
) -> ValidationSet:
    """Join what is held out.

    Args:
        normals: uint8 [N, H, W, 3].
        drawn: of synthetic anomalies on these by a fixed seed; its pictures with an empty mask
            are left away.
        seen: defects, uint8 [S, H, W, 3]; S may be 0.
        seen_masks: bool [S, H, W].
        inspected: [H, W], where losses are taken; None: everywhere.
    """
    marked = (drawn.masks > 0).any(axis=(1, 2))
    counts = {NORMAL: len(normals), DRAWN: int(marked.sum()), SEEN: len(seen)}
    empty = np.zeros(normals.shape[:3], np.float32)
    masks = np.concatenate([empty, drawn.masks[marked], seen_masks.astype(np.float32)])
    if inspected is not None:
        masks[:, ~inspected] = IGNORED
    return ValidationSet(
        frames=np.concatenate([normals, drawn.frames[marked], seen]),
        masks=masks,
        groups=np.repeat(list(counts), list(counts.values())),
    )


def validation_loss(network: PRN, validation: ValidationSet) -> float:
    """Mean over the groups of the loss of each; `network` is in evaluation mode."""
    losses = np.empty(len(validation.frames))
    for start in range(0, len(losses), _BATCH):
        end = start + _BATCH
        with torch.inference_mode():
            logits = network.logits(torch.from_numpy(validation.frames[start:end])).cpu()
            masks = torch.from_numpy(validation.masks[start:end])
            for place, (logit, mask) in enumerate(zip(logits, masks, strict=True)):
                losses[start + place] = float(map_loss(logit, mask).total)
    means = [losses[validation.groups == group].mean() for group in np.unique(validation.groups)]
    return float(np.mean(means))


def should_stop(checks: Sequence[ValidationLoss], patience: int) -> bool:
    """Return whether the last `patience` checks were all clearly worse than the best before them.

    A loss that merely stagnates is not overfitting: it falls again with the learning rate.
    """
    if len(checks) <= patience:
        return False
    limit = (1 + _CLEARLY) * min(check.loss for check in checks[:-patience])
    return all(check.loss >= limit for check in checks[-patience:])


def _group_places(
    shas: Sequence[str], keys: Sequence[str], kept: Collection[str]
) -> NDArray[np.float64]:
    """Return where each picture's group falls, 0..1; above 1 for groups that are kept.

    A named group falls by its name, copies where the last of them does: another copy can only move
    them from the held-out to the learned, never back.
    """
    places: dict[str, float] = {}
    for sha, key in zip(shas, keys, strict=True):
        own = _place(key) if key.startswith(NAMED) else _place(sha)
        places[key] = max(places.get(key, 0.0), own)
    return np.array([_KEPT if key in kept else places[key] for key in keys], np.float64)


def _place(sha: str) -> float:
    """Where a picture falls, 0..1; a hash of its own, as a store's golden ones go by the first."""
    return int.from_bytes(hashlib.sha256(f"held out\0{sha}".encode()).digest()[:8]) / 2**64
