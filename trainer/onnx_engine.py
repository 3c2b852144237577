"""An engine file run by ONNX Runtime, for judging a model right after it was made."""

from pathlib import Path

import onnxruntime

from engines.engine import Pixels, Scores, check_frames
from engines.manifest import Manifest, read_manifest
from trainer.export import OUTPUTS


class OnnxEngine:
    """An `engines.engine.Engine` over ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        self.manifest: Manifest = read_manifest(path)
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=["CPUExecutionProvider"]
        )

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        return self.manifest.max_batch

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        return self.manifest.height, self.manifest.width

    def score(self, frames: Pixels) -> Scores:
        """Score uint8 [N, H, W, 3] RGB; see `engines.engine.Engine`."""
        check_frames(frames, self.input_size, self.max_batch)
        return Scores(*self._session.run(list(OUTPUTS), {"frames": frames}))

    def close(self) -> None:
        """Free everything; the engine is of no use afterwards."""
        del self._session
