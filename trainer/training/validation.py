"""When a training should stop: what held-out pictures say of the averaged weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.networks.prn import PRN
from trainer.training.batches import Batch
from trainer.training.checkpoint import ValidationLoss
from trainer.training.training_step import map_loss

NORMAL_SHARE = 0.12  # of the normal pictures, held out
SEEN_SHARE = 0.1  # of the seen defects
LEAST_SEEN = 20  # of fewer, none is held out: each is worth more to learn from
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


def split_normals(count: int, seed: int) -> ValidationSplit:
    """Draw normal pictures to hold out: at least one, and never so many that two do not remain."""
    return _split(count, min(max(1, round(NORMAL_SHARE * count)), max(0, count - 2)), seed)


def split_seen(count: int, seed: int) -> ValidationSplit:
    """Draw seen defects to hold out, at least one of twenty."""
    held = max(1, round(SEEN_SHARE * count)) if count >= LEAST_SEEN else 0
    return _split(count, held, seed)


def split_normals_by_content(shas: Sequence[str]) -> ValidationSplit:
    """Hold normal pictures out by their pixels alone, for ever, whatever others there are.

    So a network that goes on learning is not calibrated on what it learned before. Only where none
    of them falls among the held-out is the nearest one taken.
    """
    places = np.array([_place(sha) for sha in shas])
    held = places < NORMAL_SHARE
    if not held.any():
        held = places == places.min()
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def split_seen_by_content(shas: Sequence[str]) -> ValidationSplit:
    """Hold seen defects out likewise; of few, there may be none."""
    held = np.array([_place(sha) < SEEN_SHARE for sha in shas], np.bool_)
    return ValidationSplit(np.flatnonzero(~held), np.flatnonzero(held))


def make_validation_set(
    normals: NDArray[np.uint8],
    drawn: Batch,
    seen: NDArray[np.uint8],
    seen_masks: NDArray[np.bool_],
) -> ValidationSet:
    """Join what is held out.

    Args:
        normals: uint8 [N, H, W, 3].
        drawn: of synthetic anomalies on these by a fixed seed; its pictures with an empty mask
            are left away.
        seen: defects, uint8 [S, H, W, 3]; S may be 0.
        seen_masks: bool [S, H, W].
    """
    marked = drawn.masks.any(axis=(1, 2))
    counts = {NORMAL: len(normals), DRAWN: int(marked.sum()), SEEN: len(seen)}
    empty = np.zeros(normals.shape[:3], np.float32)
    return ValidationSet(
        frames=np.concatenate([normals, drawn.frames[marked], seen]),
        masks=np.concatenate([empty, drawn.masks[marked], seen_masks.astype(np.float32)]),
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
    """Whether all of the last `patience` checks were clearly worse than the best before them.

    A loss that merely stands still is no overfitting: it falls again when the learning rate does.
    """
    if len(checks) <= patience:
        return False
    limit = (1 + _CLEARLY) * min(check.loss for check in checks[:-patience])
    return all(check.loss >= limit for check in checks[-patience:])


def _split(count: int, held: int, seed: int) -> ValidationSplit:
    order = np.random.default_rng(seed).permutation(count)
    return ValidationSplit(np.sort(order[held:]), np.sort(order[:held]))


def _place(sha: str) -> float:
    """Where a picture falls, 0..1; a hash of its own, as a store's golden ones go by the first."""
    return int.from_bytes(hashlib.sha256(f"held out\0{sha}".encode()).digest()[:8]) / 2**64
