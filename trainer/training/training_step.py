"""One training step of PRN: a batch in, losses out, weights moved and averaged.

The loss is focal and smooth L1 against the mask, on logits in float32. What a training hands over
is the exponential moving average of its weights.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from trainer.networks.backbones import Features
from trainer.networks.prn import PRN, Head
from trainer.prototypes.normals import Normals, residuals_of
from trainer.training.batches import Batch
from trainer.training.device import Precision
from trainer.training.shards import (
    Shard,
    average_statistics,
    copy_statistics,
    mean_of,
    replicas,
    single_cores,
    split_batch,
)

_WARM_UP = 10  # after n updates the decay is at most (1 + n) / (_WARM_UP + n)
FOCAL_WEIGHT = 5.0
_ALPHA = 0.5
_GAMMA = 4


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """How weights are moved; `optimiser="adam"` is the paper's, whose decay joins the gradient."""

    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    leave_one_out: bool = True
    precision: Precision = "fp32"  # of the head's convolutions
    shards: int = 2  # parts of a batch, each with batch statistics and a core of its own


@dataclass(frozen=True, slots=True)
class Losses:
    """What one batch lost; `total` has the gradient."""

    total: Tensor
    focal: Tensor
    smooth_l1: Tensor

    def detached(self) -> "Losses":
        """Leave the gradient away."""
        return Losses(self.total.detach(), self.focal.detach(), self.smooth_l1.detach())


@dataclass(frozen=True, slots=True)
class _Part:
    losses: Losses
    gradients: tuple[Tensor, ...]  # one for each parameter


class TrainingState:
    """A network in training, with its optimiser and its moving average."""

    def __init__(self, network: PRN, normals: Normals, method: OptimizerConfig) -> None:
        self.network = network
        self._normals = normals
        self._method = method
        self._parameters = list(network.head.parameters())
        self._heads = replicas(network.head, method.shards)
        self._optimiser = _optimiser(network.head, method)
        self._average = average_weights(network.head, method.ema_decay)
        for head in self._heads:
            head.train()

    def step(self, batch: Batch, rate_share: float, step: int) -> Losses:
        """Learn `batch` at a share of the learning rate, as update number `step`, from 0."""
        with single_cores(len(self._heads)) as threads:
            shards = split_batch(batch, len(self._heads))
            parts = list(threads.map(self._part, self._heads, shards))
            threads.submit(self._move, parts, rate_share, step).result()
        return Losses(
            total=mean_of([part.losses.total for part in parts]),
            focal=mean_of([part.losses.focal for part in parts]),
            smooth_l1=mean_of([part.losses.smooth_l1 for part in parts]),
        )

    def write_average(self, head: nn.Module) -> None:
        """Copy the averaged weights and batch statistics into `head`."""
        averages = _floats(self._average.module)
        with torch.no_grad():
            for name, tensor in _floats(head).items():
                tensor.copy_(averages[name])

    def averaged(self) -> PRN:
        """Copy the network with its averaged weights, in evaluation mode."""
        head = copy.deepcopy(self.network.head)
        self.write_average(head)
        return self.network.with_head(head).eval()

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold."""
        optimiser = {
            f"{index}.{name}": tensor
            for index, state in self._optimiser.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        prototypes = dict(self.network.residuals.named_buffers())
        return (
            _prefixed("head", self.network.head.state_dict())
            | _prefixed("average", _floats(self._average.module))
            | _prefixed("optimiser", optimiser)
            | _prefixed("residuals", prototypes)
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self.network.head.load_state_dict(_under("head", tensors))
        # In place: they are the prototypes that `normals` holds, too.
        self.network.residuals.load_state_dict(_under("residuals", tensors))
        # checkpoints hold no counts of batches
        self._average.module.load_state_dict(_under("average", tensors), strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser", tensors).items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
        copy_statistics(self._heads)

    def _part(self, head: Head, shard: Shard) -> _Part:
        """Losses and gradients of a part of the batch."""
        with torch.no_grad():
            stem, features = encode_batch(self.network, self._normals, shard)
            under = shard.normals if self._method.leave_one_out else np.full_like(shard.normals, -1)
            residuals = residuals_of(self._normals, features, under)
        bf16 = self._method.precision == "bf16"
        with torch.autocast(stem.device.type, torch.bfloat16, enabled=bf16):
            logits = head(stem, features, residuals)
        losses = map_loss(logits[:, 0], torch.from_numpy(shard.masks).to(logits.device))
        gradients = torch.autograd.grad(losses.total, list(head.parameters()))
        return _Part(losses.detached(), gradients)

    def _move(self, parts: Sequence[_Part], rate_share: float, step: int) -> None:
        """Move weights, batch statistics and averages."""
        average_statistics(self._heads)
        for place, parameter in enumerate(self._parameters):
            parameter.grad = mean_of([part.gradients[place] for part in parts])
        nn.utils.clip_grad_norm_(self._parameters, self._method.clip_norm)
        for group in self._optimiser.param_groups:
            group["lr"] = rate_share * self._method.learning_rate
        self._optimiser.step()
        self._average.n_averaged.fill_(step + 1)  # a training that went on began at another step
        self._average.update_parameters(self.network.head)


def encode_batch(network: PRN, normals: Normals, batch: Batch) -> tuple[Tensor, Features]:
    """Encode a batch; the features of a normal picture as it stands are read, not computed."""
    frames = torch.from_numpy(batch.frames)
    known = np.array(
        [
            number >= 0 and np.array_equal(frame, normals.pixels[number])
            for frame, number in zip(batch.frames, batch.normals, strict=True)
        ]
    )
    stem = network.encoder.stem(frames)
    if not known.any():
        return stem, network.encoder.backbone.scales(stem)
    new = torch.from_numpy(np.flatnonzero(~known))
    computed = network.encoder.backbone.scales(stem[new]) if len(new) else None
    joined = []
    for scale in range(3):
        features = normals.cache.take(scale, np.maximum(batch.normals, 0), stem.device)
        if computed is not None:
            features[new] = computed[scale]
        joined.append(features)
    fine, middle, coarse = joined
    return stem, (fine, middle, coarse)


def _optimiser(head: nn.Module, method: OptimizerConfig) -> torch.optim.Optimizer:
    """Decay convolutions only: batch norms and biases, one number a channel, are left alone."""
    decayed = [each for each in head.parameters() if each.ndim > 1]
    plain = [each for each in head.parameters() if each.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": method.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if method.optimiser == "adam":
        return torch.optim.Adam(groups, lr=method.learning_rate)
    return torch.optim.AdamW(groups, lr=method.learning_rate)


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def average_weights(module: nn.Module, decay: float) -> AveragedModel:
    """Begin the moving average of a module's weights and batch statistics, at what it has now.

    Args:
        module: whose state is averaged; counts of batches are copied.
        decay: what remains of the average at an update; after n updates (1 + n) / (10 + n) at most.
    """

    def move(averages: PARAM_LIST, now: PARAM_LIST, updates: Tensor | int) -> None:
        step = int(updates) - 1
        share = 1 - min(decay, (1 + step) / (_WARM_UP + step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, now, share)  # one call for hundreds of small tensors
        else:
            torch._foreach_copy_(averages, now)

    average = AveragedModel(module, multi_avg_fn=torch.no_grad()(move), use_buffers=True)
    average.n_averaged.fill_(1)  # the state at the beginning is the first that is averaged
    return average


def _floats(module: nn.Module) -> Mapping[str, Tensor]:
    return {name: each for name, each in module.state_dict().items() if each.is_floating_point()}


def map_loss(logits: Tensor, masks: Tensor) -> Losses:
    """Compare logits with masks, both [N, H, W], masks 0..1; below 0, a pixel is ignored.

    With p the probability and m the mask, focal = -1/2 |m - p|^4 (m log p + (1 - m) log(1 - p)),
    which at m of 0 or 1 is the published form; smooth L1 with beta 1 is (m - p)^2 / 2 here. Means
    over all pixels that are not ignored, 5 focal + smooth L1.
    """
    logits, masks = logits.float(), masks.float()
    probability = logits.sigmoid()
    ignored = masks < 0
    zoned = bool(ignored.any())
    if zoned:
        counted = (~ignored).sum().clamp_min(1)
        masks = masks.masked_fill(ignored, 0)
    surprise = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    square = (masks - probability).square()
    weighted = square.pow(_GAMMA // 2) * surprise
    if zoned:
        focal = _ALPHA * weighted.masked_fill(ignored, 0).sum() / counted
        smooth_l1 = 0.5 * square.masked_fill(ignored, 0).sum() / counted
    else:
        focal = _ALPHA * weighted.mean()
        smooth_l1 = 0.5 * square.mean()
    return Losses(FOCAL_WEIGHT * focal + smooth_l1, focal, smooth_l1)
