"""Program: export many of anomalib's models, untrained and small, and save what they say.

`python anomalib_models.py FOLDER` leaves FOLDER/MODEL/model.onnx (its weights beside it) and
FOLDER/MODEL/said.npz with frames uint8 [N, H, W, 3] RGB, scores [N] and maps [N, h, w], for each of
MODELS. What needs no training tests an import as well: scores and maps are those of random weights.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

# torchvision's wheel does not load beside a CPU torch, for want of two operators nobody calls here
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _OPERATORS.define(f"{_name}(Tensor boxes, Tensor scores, float overlap) -> Tensor")
warnings.simplefilter("ignore")

import timm  # noqa: E402


def _untrained(*given: object, **named: object) -> torch.nn.Module:
    """Make a backbone without the weights that would have to be fetched."""
    return _create(*given, **{**named, "pretrained": False})


_create = timm.create_model
timm.create_model = _untrained

from anomalib.models import (  # noqa: E402
    Cflow,
    Dfm,
    Fastflow,
    Fre,
    Glass,
    ReverseDistillation,
    Stfpm,
    Supersimplenet,
)

SIDE = 64
FASTFLOW_SIDE = 256  # whose norms are as large as the default input's maps
FRAMES = 3
BACKBONE = "resnet18"
MODELS = {
    "stfpm": lambda: Stfpm(BACKBONE, ["layer1", "layer2"]),
    "fastflow": lambda: Fastflow(BACKBONE, pre_trained=False, flow_steps=1),
    "reverse_distillation": lambda: ReverseDistillation(BACKBONE, pre_trained=False),
    "cflow": lambda: Cflow(BACKBONE, ["layer2"], pre_trained=False, coupling_blocks=1),
    "supersimplenet": lambda: Supersimplenet(backbone=BACKBONE),
    "dfm": lambda: _fitted(Dfm(BACKBONE, "layer2", pre_trained=False)),
    "fre": lambda: Fre(BACKBONE, "layer2", pre_trained=False, input_dim=2048, latent_dim=8),
    "glass": lambda: Glass(
        (SIDE, SIDE),
        backbone=BACKBONE,
        pre_trained=False,
        pretrain_embed_dim=64,
        target_embed_dim=64,
        discriminator_hidden=32,
    ),
}


class _Batch:
    """What a training step reads of a batch."""

    def __init__(self, image: torch.Tensor) -> None:
        self.image = image


def _fitted(model: Dfm) -> Dfm:
    """Show noise to a model that learns without gradients."""
    model.model.train()
    for _ in range(2):
        model.training_step(_Batch(torch.rand(4, 3, SIDE, SIDE)), 0)
    model.fit()
    return model


def export(name: str, folder: Path, frames: np.ndarray) -> None:
    """Export one model, normalised over what it says of `frames`."""
    torch.manual_seed(1)
    model = MODELS[name]()
    side = FASTFLOW_SIDE if name == "fastflow" else SIDE
    model.pre_processor = type(model).configure_pre_processor(image_size=(side, side))
    model.eval()
    inputs = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().float() / 255
    pre, post = model.pre_processor, model.post_processor
    with torch.inference_mode():
        raw = model.model(pre.export_transform(inputs))
        for place, values in (("image", raw.pred_score), ("pixel", raw.anomaly_map)):
            getattr(post, f"{place}_min").copy_(values.min())
            getattr(post, f"{place}_max").copy_(values.max())
            getattr(post, f"_{place}_threshold").copy_(values.median())
        # one by one: what CFlow says of a frame depends on the others of its batch
        said = [post(model.model(pre.export_transform(frame[None]))) for frame in inputs]
    exported = model.to_onnx(folder)
    for file in exported.parent.iterdir():
        file.rename(folder / file.name)
    maps = np.stack([each.anomaly_map.numpy()[0].squeeze() for each in said])
    scores = np.array([float(each.pred_score) for each in said])
    np.savez(folder / "said.npz", frames=frames, scores=scores, maps=maps)


def main(folder: Path) -> None:
    """Export all of them."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    for name in MODELS:
        export(name, folder / name, frames)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
