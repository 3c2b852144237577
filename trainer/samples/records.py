"""What the sample store says of its pictures."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from trainer.dataset import GOOD


class SampleStatus(StrEnum):
    """Where a picture is."""

    INCOMING = "incoming"  # a new normal that was not screened yet
    KEPT = "kept"  # training or the golden set sees it
    QUARANTINE = "quarantine"  # a person must say what it is
    ASIDE = "aside"  # it resembles pictures of training and golden ones: neither sees it
    REJECTED = "rejected"  # a person said that it is of no use; its file stays


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where a label came from, as far as that is known."""

    origin: str  # a picture's path in a data folder, or a frame's entry id
    line: str = ""
    label_id: str = ""  # in {line}:labels
    by: str = ""  # who gave it
    at_ns: int = 0  # when; UTC, nanoseconds since the epoch; 0: not known
    captured_ns: int = 0  # when the picture was taken; 0: not known


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of a picture that was added."""

    sha: str  # SHA-256 over shape and pixels, hex
    state: Literal["new", "known", "changed"]
    golden: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What the index says of one picture."""

    sha: str
    kind: str  # GOOD, or which defect
    golden: bool  # decided once, when it came
    place: SampleStatus
    mask: str = ""  # SHA-256 of its mask, hex; "": none is known
    mask_kind: str = ""  # its kind when the mask came: the mask's folder
    reasons: tuple[str, ...] = ()  # why it waits

    @property
    def normal(self) -> bool:
        """Return whether it is to show a good part."""
        return self.kind == GOOD


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """One label, whether it counts or not: none is ever forgotten."""

    sha: str  # "": there was no picture
    kind: str
    mask: str
    source: LabelSource
    note: str = ""  # unsure, expired, why its mask is of no use, or that an engine predicted it


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import brought."""

    added: int
    known: int
    changed: int  # another label than before
    without_mask: int  # defects of which no mask is known
    unreadable: tuple[str, ...]  # one sentence for each
    doubts: tuple[str, ...] = ()  # what looks wrong and was taken all the same


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pictures are where."""

    training: dict[str, int]  # by kind
    golden: dict[str, int]  # by kind
    incoming: int
    quarantine: int
    aside: int
    rejected: int
    missing: int  # of all these, how many files are gone
