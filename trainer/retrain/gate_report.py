"""What the gate says, as values and as the file `gate.json`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

REPORT_NAME = "gate.json"
MAX_REPORT_BYTES = 4 << 20

Comparison = Literal["better", "worse", "same", "unknown"]
GateDecision = Literal["promote", "refuse"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MetricComparison(_Part):
    """One figure of both engines, and how sure their difference is."""

    name: str
    unit: str = Field(description="'%' of the pictures or of the figure, or 'ms'")
    lower_is_better: bool
    incumbent: float | None = Field(description="null: there is none, or it does not exist")
    candidate: float | None
    difference: float | None = Field(description="candidate less incumbent")
    low: float | None = Field(description="of the difference, 95 % interval")
    high: float | None
    standing: Comparison
    note: str = ""


class ComparedEngine(_Part):
    """One of the two engines."""

    file: str
    model: str
    version: str
    sha256: str
    threshold: float
    pixel_threshold: float


class GateReport(_Part):
    """Candidate against incumbent on the golden pictures."""

    schema_version: Literal[1] = 1
    decision: GateDecision
    reasons: tuple[str, ...] = Field(description="why, in sentences; the first one decides")
    warnings: tuple[str, ...] = ()
    ungated: bool = Field(description="allowed although there are too few golden pictures")
    candidate: ComparedEngine
    incumbent: ComparedEngine | None
    figures: tuple[MetricComparison, ...]
    normals: int = Field(description="golden pictures of good parts")
    defects: int = Field(description="golden pictures of defects")
    normal_groups: int | None = Field(
        default=None, description="groups that those of good parts are of; null: not counted"
    )
    defect_groups: int | None = Field(default=None, description="likewise of defects")
    without_mask: int = Field(description="defects that the pixel AP leaves out")
    unreadable: tuple[str, ...] = ()
    confidence: float
    draws: int
    seed: int
    slack: float = Field(description="share by which latency may grow")
    created: str

    @property
    def promoted(self) -> bool:
        """Return whether the candidate may take the incumbent's place."""
        return self.decision == "promote"
