"""Read and verify the manifest beside an engine file: what it was built from and for.

`NAME` has its manifest in `NAME.json` (`prn.onnx` -> `prn.onnx.json`). A worker serves a file only
when the manifest parses, has this schema version, and holds the file's SHA-256.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engines.errors import ManifestError
from engines.files import file_sha256, parse_json, read_file, write_atomic

if TYPE_CHECKING:  # imported lazily: few engines have zones
    from engines.zones.schema import ZoneSet

SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 4 << 20
PEAK_THRESHOLD = "peak_threshold"  # key in `settings`, whose content earlier programs ignore
_SHOWN = 300  # longest foreign name or message in an error, characters


class _Part(BaseModel):
    # a NaN threshold would pass every part
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Thresholds(_Part):
    """The thresholds and their calibration. Scores above are NG, map values above are mask."""

    image: float = Field(description="raw score above which a frame is NG")
    pixel: float = Field(
        description="map value above which a pixel belongs to the mask", ge=0, le=1
    )
    method: str = Field(description="how they were calibrated, in one sentence")
    normals: int = Field(description="held-out normal frames that they are based on", ge=0)
    false_reject_rate: float | None = Field(
        default=None, description="promised share of normal frames above it", gt=0, lt=1
    )
    peak: float | None = Field(
        default=None,
        description="threshold on the highest map value, by which zones are judged; a manifest "
        "keeps it in its settings, which earlier programs ignore",
    )


class Snapshot(_Part):
    """The pictures that the model was made from."""

    name: str
    sha256: str = Field(description="SHA-256 of the sorted names and contents of the pictures")
    normals: int = Field(ge=0)
    defects: int = Field(default=0, ge=0)


class CostPoint(_Part):
    """One point of a measured cost curve."""

    batch: int = Field(ge=1)
    median_ms: float = Field(ge=0)
    p99_ms: float = Field(ge=0)


class Admission(_Part):
    """The report of the admission gate on the machine that will serve."""

    admitted: bool
    machine: str
    backend: str
    source: str = Field(description="where the frames came from, or that they are synthetic")
    images: int = Field(ge=1)
    score_error: float = Field(description="largest |score - reference score|")
    map_error: float = Field(description="largest |map - reference map|")
    score_tolerance: float
    map_tolerance: float
    tolerance_reason: str
    batch_invariant: bool
    repeatable: bool
    rank_flips: int = Field(
        description="frames clear of the threshold, decided unlike the reference", ge=0
    )
    unlike: int = Field(default=0, description="all frames decided unlike the reference", ge=0)
    unlike_tolerance: int = Field(default=0, description="how many may be", ge=0)
    cost: list[CostPoint] = Field(min_length=1, description="one for each batch size")
    peak_memory_mb: float
    gain: float | None = Field(default=None, description="speed relative to the baseline below")
    gain_over: str | None = Field(
        default=None, description="the baseline and the clock; None in older reports"
    )
    least_gain: float | None = Field(default=None, description="required relative speed")
    reasons: list[str] = Field(default=[], description="why it was refused")
    created: str

    @field_validator("cost")
    @classmethod
    def _check_cost(cls, cost: list[CostPoint]) -> list[CostPoint]:
        if len({point.batch for point in cost}) < len(cost):
            raise ValueError("two points are of the same batch size")
        return cost


class Manifest(_Part):
    """What an engine file was built from and for."""

    schema_version: Literal[1] = 1
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the engine file")
    model: str
    version: str
    created: str = Field(description="UTC, ISO 8601")
    format: Literal["onnx", "openvino", "tensorrt", "tensorrt_rtx", "fixed", "extension"]
    format_version: str = Field(description="of the library that wrote the file")
    device: str = Field(description="'any', 'cpu', or GPU name and compute capability")
    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    max_batch: int = Field(ge=1, le=4096)
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    thresholds: Thresholds
    snapshot: Snapshot | None = None
    golden: dict[str, float] = Field(default={}, description="figures on the golden set")
    settings: dict[str, str | int | float | bool] = Field(
        default={}, description="what the model was trained with"
    )
    built_from: str = Field(
        default="",
        description="SHA-256 of the ONNX file that it was built from; if that had weights beside "
        "it, of the hashes of all its files",
    )
    kernel_sha256: str = Field(default="", description="of a plan's kernel library")
    admission: Admission | None = None
    revision: str = Field(default="", description="of the source that built it")
    zones: Any = Field(
        default=None,
        description="a ZoneSet: what it was trained to inspect; programs without zones refuse it",
    )

    @field_validator("zones", mode="before")
    @classmethod
    def _check_zones(cls, zones: object) -> "ZoneSet | None":
        if zones is None:
            return None
        from engines.zones.schema import ZoneSet  # noqa: PLC0415  # imported lazily: few engines have zones

        return ZoneSet.model_validate(zones)

    @property
    def is_admitted(self) -> bool:
        """Return whether any machine admitted the engine; a fixed engine never is."""
        return self.format != "fixed" and self.admission is not None and self.admission.admitted

    @property
    def peak_threshold(self) -> float | None:
        """Peak threshold, by which zones are judged; None if not calibrated."""
        if self.thresholds.peak is not None:
            return self.thresholds.peak
        value = self.settings.get(PEAK_THRESHOLD)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value)

    @property
    def is_plan(self) -> bool:
        """Return whether it is a plan of TensorRT or TensorRT-RTX."""
        return self.format in ("tensorrt", "tensorrt_rtx")


def manifest_path(engine_path: Path) -> Path:
    """Return the path of the manifest of `engine_path`."""
    return engine_path.with_name(engine_path.name + ".json")


def read_manifest(engine_path: Path) -> Manifest:
    """Read the manifest of `engine_path` and verify the file's hash.

    Raises:
        ManifestError: missing, unreadable, of another schema version, or of another file.
    """
    path = manifest_path(engine_path)
    if not engine_path.is_file():
        raise ManifestError(f"no engine file {engine_path}: make one with trainer-train")
    if not path.is_file():
        raise ManifestError(f"{engine_path.name} has no manifest {path}: copy it beside the engine")
    manifest = read_manifest_file(path)
    if (got := file_sha256(engine_path)) != manifest.sha256:
        raise ManifestError(
            f"{engine_path} is not the file that its manifest describes "
            f"(sha256 {got[:12]}..., manifest says {manifest.sha256[:12]}...): copy both again"
        )
    return manifest


def read_manifest_file(path: Path) -> Manifest:
    """Read the manifest at `path`, without verifying the engine's hash.

    Raises:
        ManifestError: not a regular file, unreadable, too large, or of another schema version.
    """
    try:
        content = read_file(path, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, path: str) -> Manifest:
    """Read a manifest's bytes; `path` names it in errors.

    Raises:
        ManifestError: unreadable, or of another schema version.
    """
    try:
        fields = parse_json(content)
    except ValueError as error:
        raise ManifestError(f"{path} is not readable JSON: {error}") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"{path} has schema version {version!r:.40}, this program reads {SCHEMA_VERSION}: "
            "build the engine again or install the matching prn-line"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise ManifestError(f"{path}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """Return the first validation error in one short line."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where[:_SHOWN]}: {first['msg'][:_SHOWN]}" if where else first["msg"][:_SHOWN]


def write_manifest(engine_path: Path, manifest: Manifest) -> Path:
    """Write the manifest beside `engine_path`, atomically."""
    path = manifest_path(engine_path)
    if (peak := manifest.thresholds.peak) is not None:
        settings = {**manifest.settings, PEAK_THRESHOLD: peak}
        manifest = manifest.model_copy(update={"settings": settings})
    unused: dict[str, Any] = {"thresholds": {"peak"}}
    if manifest.zones is None:
        unused["zones"] = True
    write_atomic(path, (manifest.model_dump_json(indent=2, exclude=unused) + "\n").encode())
    return path
