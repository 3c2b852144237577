"""Program: let anomalib learn drawn parts, export the model, and save what it says of some.

`python anomalib_export.py MODEL FOLDER` leaves FOLDER/model.onnx (its weights beside it) and
FOLDER/said.npz with frames uint8 [N, H, W, 3] RGB, scores [N] and maps [N, H, W].
"""

import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch

# torchvision's wheel does not load beside a CPU torch, for want of two operators nobody calls here
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _OPERATORS.define(f"{_name}(Tensor boxes, Tensor scores, float overlap) -> Tensor")
warnings.simplefilter("ignore")

from anomalib.data import Folder  # noqa: E402
from anomalib.deploy import ExportType  # noqa: E402
from anomalib.engine import Engine  # noqa: E402
from anomalib.models import Padim, Patchcore  # noqa: E402

SIZE = (80, 96)
SIDE = 64  # of the square that its own pre-processing makes of a frame
COUNTS = {"good": 12, "test_good": 6, "bad": 6}
MODELS = {
    "padim": lambda: Padim("resnet18", ["layer1", "layer2"], pre_trained=False, n_features=16),
    "patchcore": lambda: Patchcore("resnet18", ["layer2", "layer3"], pre_trained=False),
}


def draw(rng: np.random.Generator, *, bad: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw a disc on grey, with a dark square where it is bad, and the square's mask."""
    picture = np.full((*SIZE, 3), 120, np.uint8)
    cv2.circle(picture, (48, 40), 30, (60, 140, 200), -1)
    picture = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    if bad:
        x, y = (int(value) for value in rng.integers(30, 52, 2))
        for target, colour in ((picture, (20, 20, 20)), (mask, 255)):
            cv2.rectangle(target, (x, y), (x + 8, y + 8), colour, -1)
    return picture, mask


def lay_out(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        for number in range(count):
            picture, mask = draw(rng, bad=name == "bad")
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{number:03}.png"), picture)
            if name == "bad":
                (folder / "masks").mkdir(exist_ok=True)
                cv2.imwrite(str(folder / "masks" / f"{number:03}.png"), mask)


def main(kind: str, folder: Path) -> None:
    parts = folder / "parts"
    lay_out(parts)
    torch.manual_seed(1)
    data = Folder(
        name="part",
        root=parts,
        normal_dir="good",
        abnormal_dir="bad",
        normal_test_dir="test_good",
        mask_dir="masks",
        train_batch_size=4,
        eval_batch_size=4,
        num_workers=0,
    )
    model = MODELS[kind]()
    model.pre_processor = type(model).configure_pre_processor(image_size=(SIDE, SIDE))
    engine = Engine(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False
    )
    engine.fit(model, datamodule=data)
    exported = Path(engine.export(model, ExportType.ONNX))
    for file in exported.parent.iterdir():
        file.rename(folder / file.name)
    drawn = [draw(np.random.default_rng(9 + n), bad=n % 2 == 1)[0] for n in range(6)]
    frames = np.stack(drawn)[..., ::-1].copy()  # as RGB
    model.eval()
    with torch.inference_mode():
        inputs = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        pre, post = model.pre_processor, model.post_processor
        said = post(model.model(pre.export_transform(inputs)))
    maps = torch.nn.functional.interpolate(
        said.anomaly_map.reshape(len(frames), 1, SIDE, SIDE), size=SIZE, mode="bilinear"
    )
    np.savez(
        folder / "said.npz",
        frames=frames,
        scores=said.pred_score.reshape(-1).numpy(),
        maps=maps[:, 0].numpy(),
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
