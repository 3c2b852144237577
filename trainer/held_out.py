"""When a training should stop: what held-out pictures say of the averaged weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.checkpoint import Check
from trainer.loss import map_loss
from trainer.prn import PRN

_BATCH = 8


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Pictures that are not learned, in groups that count alike: normal, drawn, seen defects."""

    frames: NDArray[np.uint8]  # [N, H, W, 3]
    masks: NDArray[np.float32]  # [N, H, W]
    groups: NDArray[np.intp]  # [N], 0..G-1


def held_out_loss(network: PRN, held: HeldOut) -> float:
    """Mean over the groups of the loss of each; `network` is in evaluation mode."""
    losses = np.empty(len(held.frames))
    for start in range(0, len(losses), _BATCH):
        end = start + _BATCH
        with torch.inference_mode():
            logits = network.logits(torch.from_numpy(held.frames[start:end]))
            masks = torch.from_numpy(held.masks[start:end])
            for place, (logit, mask) in enumerate(zip(logits, masks, strict=True)):
                losses[start + place] = float(map_loss(logit, mask).total)
    means = [losses[held.groups == group].mean() for group in np.unique(held.groups)]
    return float(np.mean(means))


def says_stop(checks: Sequence[Check], patience: int) -> bool:
    """Whether none of the last `patience` checks was better than the best before them."""
    if len(checks) <= patience:
        return False
    best_before = min(check.loss for check in checks[:-patience])
    return all(check.loss >= best_before for check in checks[-patience:])
