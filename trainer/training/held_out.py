"""When a training should stop: what held-out pictures say of the averaged weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.dataset import Sample
from trainer.networks.prn import PRN
from trainer.training.batches import Batch
from trainer.training.checkpoint import Check
from trainer.training.loss import map_loss

NORMAL_SHARE = 0.12  # of the normal pictures, held out
SEEN_SHARE = 0.1  # of the seen defects
LEAST_SEEN = 20  # of fewer, none is held out: each is worth more to learn from
_BATCH = 8
_CLEARLY = 0.05  # share by which a loss is more than another

NORMAL, DRAWN, SEEN = range(3)  # groups


@dataclass(frozen=True, slots=True)
class Division:
    """Which of a number of pictures are learned and which are held out; both sorted."""

    learned: NDArray[np.intp]
    held: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Pictures that are not learned, in groups that count alike: normal, drawn, seen defects."""

    frames: NDArray[np.uint8]  # [N, H, W, 3]
    masks: NDArray[np.float32]  # [N, H, W]
    groups: NDArray[np.intp]  # [N], 0..G-1


def divide_normals(count: int, seed: int) -> Division:
    """Draw normal pictures to hold out: at least one, and never so many that two do not remain."""
    return _division(count, min(max(1, round(NORMAL_SHARE * count)), max(0, count - 2)), seed)


def divide_seen(count: int, seed: int) -> Division:
    """Draw seen defects to hold out, at least one of twenty."""
    held = max(1, round(SEEN_SHARE * count)) if count >= LEAST_SEEN else 0
    return _division(count, held, seed)


def divide_normals_by_name(samples: Sequence[Sample]) -> Division:
    """Hold out by the hash of each name: pictures that join later move none of these.

    So a network that goes on learning is never calibrated on what it learned before.
    """
    return _division_by_name(samples, NORMAL_SHARE, least=1)


def divide_seen_by_name(samples: Sequence[Sample]) -> Division:
    """Hold out seen defects by the hash of each name, none of fewer than twenty."""
    share = SEEN_SHARE if len(samples) >= LEAST_SEEN else 0.0
    return _division_by_name(samples, share, least=0)


def hold_out(
    normals: NDArray[np.uint8],
    drawn: Batch,
    seen: NDArray[np.uint8],
    seen_masks: NDArray[np.bool_],
) -> HeldOut:
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
    return HeldOut(
        frames=np.concatenate([normals, drawn.frames[marked], seen]),
        masks=np.concatenate([empty, drawn.masks[marked], seen_masks.astype(np.float32)]),
        groups=np.repeat(list(counts), list(counts.values())),
    )


def held_out_loss(network: PRN, held: HeldOut) -> float:
    """Mean over the groups of the loss of each; `network` is in evaluation mode."""
    losses = np.empty(len(held.frames))
    for start in range(0, len(losses), _BATCH):
        end = start + _BATCH
        with torch.inference_mode():
            logits = network.logits(torch.from_numpy(held.frames[start:end])).cpu()
            masks = torch.from_numpy(held.masks[start:end])
            for place, (logit, mask) in enumerate(zip(logits, masks, strict=True)):
                losses[start + place] = float(map_loss(logit, mask).total)
    means = [losses[held.groups == group].mean() for group in np.unique(held.groups)]
    return float(np.mean(means))


def says_stop(checks: Sequence[Check], patience: int) -> bool:
    """Whether all of the last `patience` checks were clearly worse than the best before them.

    A loss that merely stands still is no overfitting: it falls again when the learning rate does.
    """
    if len(checks) <= patience:
        return False
    limit = (1 + _CLEARLY) * min(check.loss for check in checks[:-patience])
    return all(check.loss >= limit for check in checks[-patience:])


def _division(count: int, held: int, seed: int) -> Division:
    order = np.random.default_rng(seed).permutation(count)
    return Division(np.sort(order[held:]), np.sort(order[:held]))


def _division_by_name(samples: Sequence[Sample], share: float, least: int) -> Division:
    """Hold out a share by hash, at least `least`, where that leaves two to learn from."""
    places = np.array([_place(sample.name) for sample in samples])
    order = np.argsort(places, kind="stable")
    held = max(least, int((places < share).sum()))
    held = min(held, max(0, len(samples) - 2))
    return Division(np.sort(order[held:]), np.sort(order[:held]))


def _place(name: str) -> float:
    """Where a name falls, 0..1, whatever other names there are."""
    return int.from_bytes(hashlib.sha256(f"held out\0{name}".encode()).digest()[:8]) / 2**64
