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
    """The lines whose labels are read, and that are notified of a promotion."""

    line: list[Name] = Field(
        default=[],
        description="lines whose labels are read; default: only what the store holds",
    )
    archive: Folder | None = Field(
        default=None, description="the workers' --archive, with the labelled frames"
    )
    redis_url: Annotated[str, Metavar("URL")] = Field(
        default="",
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
        f"default: the embedded server. Pass a password in {_PASSWORD_VARIABLE}",
    )
    redis_username: Name | None = Field(default=None, description="ACL user")
    redis_password_file: File | None = Field(
        default=None, description="file whose first line is the password"
    )
    state_dir: Folder | None = Field(
        default=None, description="folder of the embedded Redis's data; default: the user's own"
    )
    redis_wait_s: float | None = Field(
        default=None,
        ge=0,
        description="seconds without an answer from Redis after which reading labels ends with an "
        "error; default: wait until it answers",
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
            raise ValueError("--line needs --archive: a label is useless without its frame")
        return self

    def redis_arguments(self) -> dict[str, Any]:
        """Return the address and credentials of Redis, as arguments of a line's programs."""
        return {
            "redis_url": self.redis_url,
            "username": self.redis_username,
            "password_file": self.redis_password_file,
            "state_dir": self.state_dir,
        }


class CandidateRecipe(CommandSettings):
    """What a candidate learns, and how."""

    model: Literal["protoad", "prn", "prn-s"] = Field(
        default="prn-s",
        description="protoad: learns from normal parts alone; prn: the paper's network, needs a "
        "GPU; prn-s: the same network, smaller",
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
        description="rebuild prototypes and thresholds without training, which takes minutes; prn "
        "and prn-s keep the head of the engine in force",
    )
    minutes: float = Field(
        default=30.0,
        gt=0,
        description="minutes for the whole run: training gets what the other stages leave",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="prn: number of training steps, instead of --minutes: the same on any machine, "
        "but the duration is unknown",
    )
    start: File | None = Field(
        default=None,
        description="prn: head.safetensors or checkpoint.safetensors to start from; default: the "
        "head of the engine in force",
    )
    size: int = Field(
        default=256, ge=64, le=1024, description="side of the square input, pixels, multiple of 32"
    )
    seed: int = Field(default=1, ge=0, description="of every random choice")
    false_reject_rate: float = Field(
        default=0.01, gt=0, lt=1, description="share of normal parts that may be rejected, 0..1"
    )
    max_normals: int = Field(
        default=2000, ge=10, description="most pictures of normal parts to use, drawn by seed"
    )
    textures: Folder | None = Field(
        default=None, description="prn: folder with pictures of textures; default: generated"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        description="prn: where to train: auto (a GPU if there is one), cpu, cuda or cuda:N",
    )
    plan: PlanBackend | None = Field(
        default=None, description="build a TensorRT plan, for lines with a GPU; default: ONNX"
    )

    @field_validator("size")
    @classmethod
    def _fits_strides(cls, size: int) -> int:
        if size % (2 * STRIDES[-1]):
            raise ValueError(f"{size} is not a multiple of {2 * STRIDES[-1]}")
        return size


class RetrainSettings(LabelledLines, CandidateRecipe):
    """Learn from new labels, and promote the resulting engine if it proves better.

    A run that was killed resumes when the same command is started again.
    """

    store: Folder = Field(description="the sample store (trainer-samples)")
    registry: Annotated[str, Metavar("URL")] = Field(
        description="engines by version: a folder, or a URL such as s3://bucket/registry"
    )
    runs: Folder = Field(description="folder of the runs: stages, logs, pictures, reports")
    collect_only: bool = Field(
        default=False,
        description="read the labels into the store and stop, so that a person can decide on "
        "waiting pictures (trainer-samples quarantine, release) before they are learned",
    )
    no_promote: bool = Field(
        default=False, description="stop after the gate; the same command without it resumes"
    )
    allow_ungated: bool = Field(
        default=False,
        description="promote UNPROVEN engines if there are too few golden pictures to compare; a "
        "run refused for that passes the gate again without learning again",
    )
    again: bool = Field(
        default=False, description="retrain even if nothing is new since the last run"
    )
    watch: bool = Field(
        default=False, description="keep running, and retrain whenever enough labels are new"
    )
    new_normals: int = Field(
        default=50, ge=1, description="with --watch: new normal pictures that start a run"
    )
    new_defects: int = Field(
        default=5, ge=1, description="with --watch: new defects that start a run"
    )
    every_s: float = Field(default=60.0, gt=0, description="with --watch: seconds between checks")
    as_json: bool = Field(default=False, description="print the result as one JSON object")


class GateSettings(CommandSettings):
    """Compare a candidate engine with the one in force on golden pictures; exit 1 if refused."""

    candidate: File = Field(description="engine file to be promoted")
    incumbent: File | None = Field(
        default=None, description="engine file in force; without it the candidate must beat chance"
    )
    store: Folder | None = Field(
        default=None,
        description="sample store whose golden pictures are judged, except those that either "
        "engine learned from (seen.json beside it)",
    )
    data: Folder | None = Field(
        default=None,
        description="folder of pictures whose test part is judged, instead of --store, with the "
        "same exception",
    )
    out: Path = Field(description="folder for gate.json and gate.html")
    backend: Backend = Field(default="auto", description="what runs both engines")
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    allow_ungated: bool = Field(
        default=False, description="accept a candidate that too few golden pictures cannot prove"
    )
    seed: int = Field(default=1, ge=0, description="seed of the draws of golden pictures")
    slack: float = Field(
        default=0.1, ge=0, le=10, description="relative change of latency that does not count"
    )
    as_json: bool = Field(
        default=False,
        description="print gate.json instead of a table, and what became of every file of --data",
    )

    @model_validator(mode="after")
    def _has_pictures(self) -> Self:
        if (self.store is None) == (self.data is None):
            raise ValueError("pass --store or --data: the pictures to judge by")
        if self.store is not None and (self.groups or self.group_pattern):
            raise ValueError(
                "a sample store knows its groups: --groups and --group-pattern go "
                "with --data, or with trainer-samples import"
            )
        return self
