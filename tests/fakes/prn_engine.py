"""An engine file of a small PRN. Needs onnx, which prn_fakes does not."""

from pathlib import Path

from engines.manifest import Thresholds
from fakes.prn import SIZE, Squares, normal_pictures, tiny_prn
from trainer.dataset import Snapshot
from trainer.export.engine_file import export_onnx, write_engine


def write_tiny_engine(folder: Path) -> Path:
    """Write it as the trainer does; it has learned nothing."""
    path = folder / "prn.onnx"
    frames = Squares(normal_pictures()).batch(3).frames
    content = export_onnx(tiny_prn(folder).network.eval(), frames)
    thresholds = Thresholds(image=0.5, pixel=0.5, method="set by hand", normals=0)
    snapshot = Snapshot(name="toy", sha256="0" * 64, normals=20)
    write_engine(path, content, "prn", (SIZE, SIZE), thresholds, snapshot, {})
    return path
