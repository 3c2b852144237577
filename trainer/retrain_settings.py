"""The flags of trainer-retrain and trainer-gate."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from engines.backends.tensorrt.api import PlanBackend
from engines.commandline.flags import File, Folder, Metavar, Name
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits
from engines.commandline.run import CommandSettings
from engines.open import Backend
from trainer.choices import CLUSTERING_HELP, STRIDES, BackboneName, Clustering
from trainer.data_flags import GroupPattern, GroupsFile

_PASSWORD_VARIABLE = "PRN_REDIS_PASSWORD"  # noqa: S105  # the name of a variable, not a password


class LabelledLines(CommandSettings):
    """Whose labels are read, and who is told of a promotion."""

    line: list[Name] = Field(
        default=[], description="lines whose labels are read; none: only what the store holds"
    )
    archive: Folder | None = Field(
        default=None, description="the workers' --archive, with the labelled frames"
    )
    redis_url: Annotated[str, Metavar("URL")] = Field(
        default="",
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
        f"default: the embedded server. A password belongs into {_PASSWORD_VARIABLE}",
    )
    redis_username: Name | None = Field(default=None, description="ACL user")
    redis_password_file: File | None = Field(
        default=None, description="file whose first line is the password"
    )
    state_dir: Folder | None = Field(
        default=None, description="where the embedded Redis keeps its data; none: the user's own"
    )
    redis_wait_s: float | None = Field(
        default=None,
        ge=0,
        description="end with an error where Redis does not answer for so many seconds when "
        "labels are read; default: wait until it does",
    )

    @field_validator("redis_url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        typed = any(url in word for word in sys.argv[1:]) if url else False
        if typed and (urlsplit(url).password or "password=" in url):
            raise ValueError(
                f"a password on the command line can be read by every user: set "
                f"{_PASSWORD_VARIABLE} or --redis-password-file"
            )
        return url

    @model_validator(mode="after")
    def _has_an_archive(self) -> Self:
        if self.line and self.archive is None:
            raise ValueError("--line needs --archive: a label is of no use without its frame")
        return self

    def redis_arguments(self) -> dict[str, Any]:
        """Return where Redis is and who asks, as programs of a line are given it."""
        return {
            "redis_url": self.redis_url,
            "username": self.redis_username,
            "password_file": self.redis_password_file,
            "state_dir": self.state_dir,
        }


class CandidateRecipe(CommandSettings):
    """What is learned, and how."""

    model: Literal["protoad", "prn", "prn-s"] = Field(
        default="prn-s",
        description="protoad: from normal parts alone; prn: the paper's network, wants a GPU; "
        "prn-s: the same parts, slimmer",
    )
    backbone: BackboneName = Field(
        default="efficientnet_lite0", description="ImageNet encoder; resnet18 needs --weights"
    )
    weights: File | None = Field(
        default=None, description="the backbone's weights, .pth or .safetensors"
    )
    clustering: Clustering = Field(default="finch", description=CLUSTERING_HELP)
    prototypes_only: bool = Field(
        default=False,
        description="rebuild prototypes and thresholds, train nothing: minutes; prn and prn-s "
        "keep the head of the engine in force",
    )
    minutes: float = Field(
        default=30.0,
        gt=0,
        description="of the whole run: training gets what the other stages leave",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="prn: train so many, in place of --minutes: the same on any machine, in a "
        "time that nobody knows",
    )
    start: File | None = Field(
        default=None,
        description="prn: head.safetensors or checkpoint.safetensors to begin from; without it "
        "the head of the engine in force",
    )
    size: int = Field(
        default=256, ge=64, le=1024, description="side of the square input, pixels, multiple of 32"
    )
    seed: int = Field(default=1, ge=0, description="of every random choice")
    false_reject_rate: float = Field(
        default=0.01, gt=0, lt=1, description="share of normal parts that may be rejected, 0..1"
    )
    max_normals: int = Field(
        default=2000, ge=10, description="pictures of normal parts to use at most, drawn by seed"
    )
    textures: Folder | None = Field(
        default=None, description="prn: folder with pictures of textures; drawn without it"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        description="prn: what trains: auto (a GPU if there is one), cpu, cuda or cuda:N",
    )
    plan: PlanBackend | None = Field(
        default=None, description="build a TensorRT plan, where a GPU serves; without it ONNX"
    )

    @field_validator("size")
    @classmethod
    def _fits_strides(cls, size: int) -> int:
        if size % (2 * STRIDES[-1]):
            raise ValueError(f"{size} is no multiple of {2 * STRIDES[-1]}")
        return size


class RetrainSettings(LabelledLines, CandidateRecipe):
    """Learn from new labels, and promote the engine that comes of it if it proves better.

    A run that was killed goes on where it was when the same command is given again.
    """

    store: Folder = Field(description="the sample store (trainer-samples)")
    registry: Annotated[str, Metavar("URL")] = Field(
        description="engines by version: a folder, or a URL such as s3://bucket/registry"
    )
    runs: Folder = Field(description="gets a folder for each run: stages, log, pictures, report")
    collect_only: bool = Field(
        default=False,
        description="take the labels into the store and stop, so that a person can decide about "
        "what waits (trainer-samples quarantine, release) before it is learned",
    )
    no_promote: bool = Field(
        default=False, description="stop after the gate; the same command without it goes on"
    )
    allow_ungated: bool = Field(
        default=False,
        description="promote UNPROVEN engines where there are too few golden pictures to compare; "
        "a run refused for that is weighed again, not learned again",
    )
    again: bool = Field(
        default=False, description="retrain although nothing is new since the last run"
    )
    watch: bool = Field(
        default=False, description="stay, and retrain whenever enough is new, until interrupted"
    )
    new_normals: int = Field(default=50, ge=1, description="with --watch: so many are enough")
    new_defects: int = Field(default=5, ge=1, description="with --watch: or so many")
    every_s: float = Field(default=60.0, gt=0, description="with --watch: look so often, seconds")
    as_json: bool = Field(default=False, description="print how it ended as one JSON object")


class GateSettings(CommandSettings):
    """Compare a candidate engine with the one in force on golden pictures; exit 1 if refused."""

    candidate: File = Field(description="engine file that wants to be promoted")
    incumbent: File | None = Field(
        default=None, description="engine file in force; without it the candidate must beat chance"
    )
    store: Folder | None = Field(
        default=None,
        description="sample store whose golden pictures are judged, less those that either engine "
        "learned from (seen.json beside it)",
    )
    data: Folder | None = Field(
        default=None,
        description="folder of pictures whose test part is judged, instead of --store, less the "
        "same",
    )
    out: Path = Field(description="folder for gate.json and gate.html")
    backend: Backend = Field(default="auto", description="what runs both engines")
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    allow_ungated: bool = Field(
        default=False, description="let pass what too few golden pictures cannot prove"
    )
    seed: int = Field(default=1, ge=0, description="of the draws of golden pictures")
    slack: float = Field(
        default=0.1, ge=0, le=10, description="share by which latency may differ and be the same"
    )
    as_json: bool = Field(
        default=False,
        description="print gate.json instead of a table, and what became of every file of --data",
    )

    @model_validator(mode="after")
    def _has_pictures(self) -> Self:
        if (self.store is None) == (self.data is None):
            raise ValueError("give --store or --data: the pictures to judge by")
        if self.store is not None and (self.groups or self.group_pattern):
            raise ValueError(
                "a sample store knows its groups: --groups and --group-pattern go "
                "with --data, or with trainer-samples import"
            )
        return self
