"""A runtime of your own: an engine that scores how bright a part is, in files called *.level.

Run as a program it writes such a file with its manifest.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engines.engine import ALL_MAPS, Pixels, Scores, check_frames
from engines.files import file_sha256, read_file
from engines.manifest import Manifest, Thresholds, write_manifest

MAX_BYTES = 4096


class LevelEngine:
    """Scores the mean brightness; a library of yours would be called here."""

    max_batch = 8

    def __init__(self, manifest: Manifest, gain: float) -> None:
        self.input_size = (manifest.height, manifest.width)
        self._gain = gain

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score uint8 [N, H, W, 3]; returns scores [N] and maps [N, H, W] in 0..1."""
        del maps_above  # every map is in the host's memory
        check_frames(frames, self.input_size, self.max_batch)
        maps = np.clip(frames.mean(axis=3, dtype=np.float32) / 255 * self._gain, 0, 1)
        return Scores(maps.max(axis=(1, 2)), maps)

    def close(self) -> None:
        """Free what the library holds."""


def open_level(path: Path, manifest: Manifest, cuda_index: int | None, threads: int) -> LevelEngine:
    """Open a *.level file; its manifest has been verified, its content is foreign."""
    del cuda_index, threads  # a library would be told
    return LevelEngine(manifest, float(json.loads(read_file(path, MAX_BYTES))["gain"]))


def main() -> None:
    """Write an engine file and its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--above", type=float, default=0.5, help="NG from this brightness, 0..1")
    parser.add_argument("--side", type=int, default=256, help="of the frames, pixels")
    given = parser.parse_args()
    given.engine.write_text(json.dumps({"gain": 1.0}), "utf-8")
    manifest = Manifest(
        sha256=file_sha256(given.engine),
        model="level",
        version="1",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        format="extension",
        format_version="1",
        device="any",
        height=given.side,
        width=given.side,
        max_batch=LevelEngine.max_batch,
        precision="fp32",
        thresholds=Thresholds(image=given.above, pixel=given.above, method="by hand", normals=0),
    )
    print(f"wrote {given.engine} and {write_manifest(given.engine, manifest)}")


if __name__ == "__main__":
    main()
