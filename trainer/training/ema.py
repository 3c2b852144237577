"""Exponential moving average of what is trained: the weights that a training hands over."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_WARM_UP = 10  # after n updates the decay is at most (1 + n) / (_WARM_UP + n)


class Average:
    """A moving average of a module's floating-point state, batch statistics included."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: each.detach().clone() for name, each in _floats(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the state of `module` after its update number `step`, from 0."""
        share = 1 - min(self.decay, (1 + step) / (_WARM_UP + step))
        now = _floats(module)
        torch._foreach_lerp_(  # one call for hundreds of small tensors
            list(self.state.values()), [now[name] for name in self.state], share
        )

    @torch.no_grad()
    def write_to(self, module: nn.Module) -> None:
        """Give `module` the averaged state."""
        for name, tensor in _floats(module).items():
            tensor.copy_(self.state[name])


def _floats(module: nn.Module) -> Mapping[str, Tensor]:
    return {name: each for name, each in module.state_dict().items() if each.is_floating_point()}
