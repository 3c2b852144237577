"""What `pipeline-loop` can be told, and where it puts things."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from engines.commandline.flags import File, Folder, Name
from engines.commandline.run import CommandSettings
from pipeline.errors import SettingsError

_MARK = ".pipeline-loop"  # in a folder that is ours to empty


class LoopSettings(CommandSettings):
    """Show a line that learns a kind of defect it did not know, and swaps its engine unnoticed."""

    data: Folder = Field(description="folder in MVTec layout, with masks of its defects")
    out: Folder = Field(default=Path("loop-out"), description="folder for all that comes of it")
    new_kind: Name = Field(
        default="contamination", description="the kind of defect that the first engine never saw"
    )
    parts: int = Field(default=200, ge=20, description="parts that pass and are labelled")
    of_new_kind: int = Field(default=20, ge=1, description="so many of them have the new defect")
    backbone: Name = Field(default="efficientnet_lite0", description="as trainer-retrain takes it")
    weights: File | None = Field(default=None, description="weights file of the backbone")
    first_steps: int = Field(
        default=6, ge=1, description="of the first training: few, as on a line's first day"
    )
    steps: int = Field(default=120, ge=1, description="of the retraining with the labels")
    rate: float = Field(default=8.0, gt=0, description="parts per second")
    seed: int = Field(default=1, ge=0, description="of the division of the pictures")


@dataclass(frozen=True, slots=True)
class LoopPaths:
    """Folders of the show."""

    out: Path

    @property
    def known(self) -> Path:
        """Pictures that the first engine learns from, in MVTec layout."""
        return self.out / "known"

    @property
    def parts(self) -> Path:
        """Pictures of the parts that pass."""
        return self.out / "parts"

    @property
    def store(self) -> Path:
        """The sample store."""
        return self.out / "store"

    @property
    def registry(self) -> Path:
        """The registry."""
        return self.out / "registry"

    @property
    def archive(self) -> Path:
        """The worker's archive."""
        return self.out / "archive"

    @property
    def verdicts(self) -> Path:
        """What the program heard."""
        return self.out / "verdicts.jsonl"


def make_room(out: Path) -> None:
    """Begin with an empty folder: what an earlier show left is removed, nothing else ever is.

    Raises:
        SettingsError: the folder holds something that no show has made.
    """
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARK).is_file():
            raise SettingsError(f"--out {out} holds other things: give a new or an empty folder")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
