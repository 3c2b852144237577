"""What a zone is: the schema of `zones.json`, of its copy in a manifest, and its limits."""

import hashlib
import json
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ZONES = 64
MAX_POINTS = 500  # corners of one polygon
MAX_RUNS = 100_000  # of all masks together: a noisy mask has as many runs as pixels
MAX_SIDE = 65_536  # pixels
MAX_MASK_PIXELS = 1 << 26
WHOLE_PICTURE = "the whole picture"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Point = tuple[float, float]  # x, y
Factor = Annotated[float, Field(gt=0, le=1000)]


class _Part(BaseModel):
    # NaN is above no threshold: a zone with such a factor would pass every part
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MaskRuns(_Part):
    """A mask as lengths of runs, row by row, the first run being of zeros."""

    size: tuple[int, int] = Field(description="height, width in pixels")
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        height, width = self.size
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(f"a mask of {height}x{width} pixels")
        if height * width > MAX_MASK_PIXELS:
            raise ValueError(f"a mask of {height}x{width}: at most {MAX_MASK_PIXELS} pixels")
        if len(self.counts) > MAX_RUNS:
            raise ValueError(f"{len(self.counts)} runs, at most {MAX_RUNS}: smooth the mask")
        if min(self.counts, default=0) < 0 or sum(self.counts) != height * width:
            raise ValueError(f"the runs do not add up to {height}x{width} pixels")
        return self

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Self:
        """Return the runs of a mask, bool [H, W]."""
        flat = np.concatenate(([False], mask.ravel()))
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        bounds = np.concatenate(([0], edges, [mask.size]))
        return cls(size=(mask.shape[0], mask.shape[1]), counts=tuple(np.diff(bounds).tolist()))

    def pixels(self) -> NDArray[np.bool_]:
        """Return the mask, bool [H, W]."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.size)


class Zone(_Part):
    """One zone. Without points and mask it covers the whole picture."""

    name: Name
    kind: Literal["inspect", "ignore"]
    cameras: tuple[Name, ...] = Field(
        default=(), max_length=MAX_ZONES, description="cameras that it applies to; empty: all"
    )
    product: Name | None = Field(default=None, description="product that it applies to; null: all")
    points: tuple[Point, ...] = Field(
        default=(), max_length=MAX_POINTS, description="corners [x, y] of a polygon"
    )
    mask: MaskRuns | None = Field(
        default=None, description="in a file: the name of a mask picture beside it"
    )
    image_factor: Factor | None = Field(
        default=None, description="times the engine's image threshold; below 1 is stricter"
    )
    pixel_factor: Factor | None = Field(
        default=None, description="times the engine's pixel threshold; below 1 marks more"
    )

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.points and self.mask:
            raise ValueError(f"zone {self.name!r} has points and a mask: use one of them")
        if self.points and len(self.points) < 3:  # noqa: PLR2004
            raise ValueError(f"zone {self.name!r} has {len(self.points)} points, 3 are needed")
        if self.kind == "ignore" and (self.image_factor or self.pixel_factor):
            raise ValueError(f"zone {self.name!r} is ignored: leave its factors out")
        if self.points and crosses_itself(self.points):
            raise ValueError(
                f"the outline of zone {self.name!r} crosses or touches itself: draw it as two zones"
            )
        return self

    @property
    def shape(self) -> str:
        """Return what bounds the zone, as text for people."""
        if self.mask is not None:
            return "mask {}x{}".format(*self.mask.size)
        return f"{len(self.points)} points" if self.points else WHOLE_PICTURE


class ZoneSet(_Part):
    """All zones of a line, masks included."""

    schema_version: Literal[1] = 1
    size: tuple[int, int] | None = Field(
        default=None,
        description="height, width of the picture that points are pixels of; null: points are 0..1",
    )
    zones: tuple[Zone, ...] = Field(max_length=MAX_ZONES)

    @model_validator(mode="after")
    def _check_zones(self) -> Self:
        height, width = self.size or (1, 1)
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(f"size {height}x{width}: height and width in pixels, from 1")
        if not self.zones:
            raise ValueError("it holds no zone: to work without zones, leave the file out")
        self._check_names()
        for zone in self.zones:
            for x, y in zone.points:
                if not (0 <= x <= width and 0 <= y <= height):
                    unit = f"{height}x{width} (height x width)" if self.size else "0..1"
                    raise ValueError(
                        f"zone {zone.name!r} has a corner at x {x:g}, y {y:g}, outside {unit}"
                    )
            if zone.mask and self.drawn_on not in {None, zone.mask.size}:
                shown = "{}x{}".format(*zone.mask.size)
                wanted = "{}x{}".format(*(self.drawn_on or (0, 0)))
                raise ValueError(
                    f"the mask of zone {zone.name!r} is {shown}, the zones are drawn on {wanted} "
                    "(height x width): save it at that size and not turned"
                )
        if sum(len(zone.mask.counts) for zone in self.zones if zone.mask) > MAX_RUNS:
            raise ValueError(f"the masks have more than {MAX_RUNS} runs together: smooth them")
        return self

    def _check_names(self) -> None:
        names = [zone.name for zone in self.zones]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two zones are called {twice[0]!r}: verdicts need distinct names")

    @property
    def drawn_on(self) -> tuple[int, int] | None:
        """(height, width) of the picture that they were drawn on; None if they fit any."""
        return self.size or next((zone.mask.size for zone in self.zones if zone.mask), None)

    @property
    def cameras(self) -> frozenset[str]:
        """Return the cameras that zones name."""
        return frozenset(name for zone in self.zones for name in zone.cameras)

    @property
    def sha256(self) -> str:
        """Return a hash of the zones, which does not depend on how their file is written."""
        plain = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()

    def of_camera(self, camera: str) -> tuple[Zone, ...]:
        """Return the zones that apply to a camera."""
        return tuple(zone for zone in self.zones if not zone.cameras or camera in zone.cameras)


def crosses_itself(points: tuple[Point, ...]) -> bool:
    """Return whether the outline of a polygon crosses or touches itself."""
    corners = np.asarray(points, np.float64)
    ends = np.roll(corners, -1, axis=0)
    if (corners == ends).all(axis=1).any():
        return True
    count = len(corners)
    first, second = np.triu_indices(count, 1)
    apart = (second - first > 1) & ~((first == 0) & (second == count - 1))
    first, second = first[apart], second[apart]
    a, b, c, d = corners[first], ends[first], corners[second], ends[second]
    along = _side(a, b, c) * _side(a, b, d) <= 0
    across = _side(c, d, a) * _side(c, d, b) <= 0
    near = ((np.minimum(a, b) <= np.maximum(c, d)) & (np.minimum(c, d) <= np.maximum(a, b))).all(1)
    spike = _side(corners, ends, np.roll(corners, -2, axis=0)) == 0
    back = ((ends - corners) * (np.roll(corners, -2, axis=0) - ends)).sum(axis=1) < 0
    return bool((along & across & near).any() or (spike & back).any())


def _side(
    start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return on which side of each line a point lies: -1, 0 or 1."""
    along, to = end - start, point - start
    return np.sign(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])
