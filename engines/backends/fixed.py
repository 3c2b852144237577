"""The fixed engine: no network, a known score, a known cost. For tests, dry runs and drills.

A `.fixed` file is a small JSON of `FixedPlan`. Its score is a plain function of the pixels
(`fixed_scores`), so that a verdict can be matched to its frame. Its cost is spent asleep: it takes
time but no core.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.engine import ALL_MAPS, Floats, Pixels, Scores, check_frames
from engines.errors import ManifestError, ScoringError
from engines.files import file_sha256, parse_json, read_file, write_atomic
from engines.manifest import Manifest, Thresholds, write_manifest

MAX_PLAN_BYTES = 4096
_STEP = 8  # pixels between two samples


class FixedPlan(BaseModel):
    """The content of a `.fixed` file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=16384, description="of a frame, pixels")
    width: int = Field(ge=1, le=16384, description="of a frame, pixels")
    cost_ms_per_call: float = Field(default=0.0, ge=0, le=60_000)
    cost_ms_per_frame: float = Field(default=0.0, ge=0, le=60_000)
    fail_every: int | None = Field(default=None, ge=1, description="each n-th call fails")


def fixed_scores(frames: Pixels) -> Floats:
    """Compute the fixed engine's scores: the mean green of every eighth pixel, 0..1.

    Args:
        frames: uint8 [N, H, W, 3].
    Returns: float32 [N].
    """
    grid = _grid(frames)
    whole = grid.sum(axis=(1, 2), dtype=np.int64)  # exact: the same alone and in any batch
    return np.asarray(whole / (255 * grid[0].size), np.float32)


def _grid(frames: Pixels) -> Pixels:
    """Return green of the first pixel of each 8 x 8 block, uint8 [N, ceil(H/8), ceil(W/8)]."""
    return frames[:, ::_STEP, ::_STEP, 1]


class FixedEngine:
    """Scores frames without a network, at a cost that its file states."""

    backend = "fixed"

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Read the file.

        Raises:
            ManifestError: it is not a fixed plan, or its size differs from its manifest's.
        """
        self._plan = _read_plan(path)
        self._size = (self._plan.height, self._plan.width)
        if self._size != (manifest.height, manifest.width):
            raise ManifestError(
                f"{path} is for frames of {self._plan.height}x{self._plan.width}, its manifest "
                f"says {manifest.height}x{manifest.width}: write both with write_fixed_engine"
            )
        self._max_batch = manifest.max_batch
        self._calls = 0

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        return self._max_batch

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        return self._size

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score `frames`, uint8 [N, H, W, 3]: `fixed_scores`, and its grid, enlarged, as the map.

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: the file sets this call to fail.
        """
        del maps_above  # every map is in the host's memory anyway
        check_frames(frames, self._size, self._max_batch)
        plan = self._plan
        self._calls += 1
        cost_ms = plan.cost_ms_per_call + plan.cost_ms_per_frame * len(frames)
        if cost_ms > 0:
            time.sleep(cost_ms / 1000)
        if plan.fail_every and self._calls % plan.fail_every == 0:
            raise ScoringError(f"call {self._calls} fails, as fail_every = {plan.fail_every} asks")
        return Scores(fixed_scores(frames), self._enlarge(_grid(frames)))

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _enlarge(self, grid: Pixels) -> Floats:
        level = grid * np.float32(1 / 255)
        enlarged: Floats = level.repeat(_STEP, axis=1).repeat(_STEP, axis=2)
        return enlarged[:, : self._size[0], : self._size[1]]


def _read_plan(path: Path) -> FixedPlan:
    try:
        return FixedPlan.model_validate(parse_json(read_file(path, MAX_PLAN_BYTES)))
    except (OSError, ValueError, ValidationError) as error:
        raise ManifestError(f"{path} is not a fixed engine: {error}") from error


def write_fixed_engine(
    path: Path,
    plan: FixedPlan,
    max_batch: int = 32,
    image_threshold: float = 0.5,
    pixel_threshold: float = 0.5,
) -> Manifest:
    """Write a fixed engine and its manifest; return the manifest."""
    write_atomic(path, plan.model_dump_json(indent=2).encode())
    manifest = Manifest(
        sha256=file_sha256(path),
        model="fixed",
        version="1",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        format="fixed",
        format_version="1",
        device="any",
        height=plan.height,
        width=plan.width,
        max_batch=max_batch,
        precision="fp32",
        thresholds=Thresholds(
            image=image_threshold, pixel=pixel_threshold, method="set by hand", normals=0
        ),
    )
    write_manifest(path, manifest)
    return manifest
