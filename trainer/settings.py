"""The flags of this package's commands."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Folder, Metavar, Name
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits
from engines.commandline.run import CommandSettings
from engines.open import Backend
from trainer.choices import (
    CLUSTERING_HELP,
    ODDNESS,
    PROTOTYPE_SHARE,
    SIMULATED_CERTAINTY,
    STRIDES,
    BackboneName,
    Clustering,
    PrnSize,
    TableName,
)
from trainer.data_flags import GroupPattern, GroupsFile

Ablation = Literal["mp", "mf", "msa", "ea", "hea", "hoa", "ta", "loo", "rm"]


_ZONES = "zones.json: which pixels to inspect and which to ignore"
_ZONES_CAMERA = "with --zones that name cameras: the camera of these pictures"
_ZONES_PRODUCT = "with --zones: the product whose zones apply"


class LearnSettings(CommandSettings):
    """The pictures to learn from, the output folder, and how to learn."""

    data: Folder = Field(
        description="folder of pictures: MVTec, BTAD, DAGM, KolektorSDD2, or normal, abnormal, mask"
    )
    out: Folder = Field(description="output folder for the engine file, its manifest and pictures")
    backbone: BackboneName = Field(
        default="efficientnet_lite0", description="ImageNet encoder; resnet18 needs --weights"
    )
    weights: File | None = Field(
        default=None, description="the backbone's weights, .pth or .safetensors"
    )
    seed: int = Field(default=1, ge=0, description="of every random choice")
    size: int = Field(
        default=256, ge=64, le=1024, description="side of the square input, pixels, multiple of 16"
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    false_reject_rate: float = Field(
        default=0.01, gt=0, lt=1, description="share of normal parts that may be rejected, 0..1"
    )
    max_normals: int = Field(
        default=2000, ge=2, description="most pictures of normal parts to use, drawn by seed"
    )
    seen: int = Field(
        default=10, ge=0, description="prn: number of defects to learn from, drawn by seed"
    )
    leave_out: list[Annotated[str, Metavar("KIND")]] = Field(
        default=[], description="prn: kinds of defects never to learn from"
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    textures: Folder | None = Field(
        default=None, description="prn: folder with pictures of textures; default: generated"
    )
    simulated_certainty: float = Field(
        default=SIMULATED_CERTAINTY,
        gt=0,
        le=1,
        description="prn: mask value of simulated anomalies if there are seen defects, whose value "
        "is 1, so that known defects rank above simulated ones; the paper's: 1",
    )
    minutes: float = Field(default=15.0, gt=0, description="prn: minutes to train")
    steps: int | None = Field(
        default=None, ge=1, description="prn: steps to train, instead of --minutes"
    )
    batch_size: int | None = Field(
        default=None,
        ge=4,
        description="prn: pictures in a batch, a multiple of 4; default: 64, prn-s: 8",
    )
    prototype_share: float = Field(
        default=PROTOTYPE_SHARE, gt=0, le=1, description="prn: prototypes per normal picture, 0..1"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        description="prn: where to train: auto (a GPU if there is one), cpu, cuda or cuda:N",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="prn: of the convolutions; auto: bf16 on a GPU, the faster one on a CPU, saved "
        "in --out for a run that resumes",
    )
    optimiser: Literal["adamw", "adam"] = Field(
        default="adamw", description="prn: adam is the paper's"
    )
    without: list[Ablation] = Field(
        default=[],
        description="prn: parts to leave out, to measure their worth: prototypes (mp), fusion "
        "(mf), attention (msa), extended (ea), heterologous (hea) and homologous (hoa) "
        "anomalies, transparency (ta), leave-one-out residuals (loo), and the faint untrained "
        "residual that is added to the map (rm)",
    )

    @field_validator("size")
    @classmethod
    def _fits_strides(cls, size: int) -> int:
        if size % STRIDES[-1]:
            raise ValueError(f"{size} is not a multiple of {STRIDES[-1]}")
        return size


class TrainSettings(LearnSettings):
    """Train a network on pictures of normal parts and write its engine file."""

    as_json: bool = Field(
        default=False, description="print what became of every file as JSON, all else on stderr"
    )
    model: Literal["protoad", "prn", "prn-s"] = Field(
        default="protoad",
        description="protoad: minutes, learns from normal parts alone; prn: the paper's network, "
        "needs a GPU; prn-s: the same network, smaller, a quarter of an hour on two cores",
    )
    held_out_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="protoad: share of normals to calibrate with, 0..1",
    )
    zones: File | None = Field(default=None, description=_ZONES)
    zones_camera: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_CAMERA)
    zones_product: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_PRODUCT)
    clustering: Clustering = Field(default="finch", description=CLUSTERING_HELP)


class ReproduceSettings(LearnSettings):
    """Train the variants of a table of PRN's paper, and print them beside the paper's figures.

    --data may be one dataset, or a folder of several, such as MVTec AD.
    """

    table: CliPositionalArg[TableName] = Field(
        description="table4: the network's parts; table5: anomalies; table6: prototypes; table7: "
        "seen defects; datasets: PRN beside methods without training"
    )
    model: PrnSize = Field(default="prn-s", description="prn: the paper's size, needs a GPU")
    simulated_certainty: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="mask value of simulated anomalies if there are seen defects; the paper's: 1, "
        f"trainer-train's: {SIMULATED_CERTAINTY}",
    )
    seeds: int = Field(
        default=3, ge=1, description="number of trainings of each row, from --seed on"
    )
    as_json: bool = Field(
        default=False,
        description="print results and what became of every file as JSON, all else on stderr",
    )


class AnomaliesSettings(CommandSettings):
    """Draw a sheet of the anomalies that a network would be trained with."""

    data: Path = Field(
        description="folder in MVTec layout (train/good, ...) or with normal, abnormal, mask"
    )
    out: Path = Field(description="picture to write, .png or .jpg")
    seen: int = Field(default=10, ge=0, description="defects with a mask to extend, drawn by seed")
    seed: int = Field(default=1, ge=0, description="of every random choice")
    textures: Path | None = Field(
        default=None, description="folder with pictures of textures; default: generated"
    )
    size: int = Field(default=256, ge=64, le=1024, description="side of the pictures, pixels")
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    as_json: bool = Field(
        default=False, description="print what became of every file as JSON, all else on stderr"
    )
    rows: int = Field(default=8, ge=1, le=50, description="examples of each kind")
    max_normals: int = Field(
        default=200, ge=1, description="most pictures of normal parts to use, drawn by seed"
    )


class SamplesSettings(CommandSettings):
    """Keep the labelled pictures that a line learns from, and decide on those that wait.

    import DIR: add every picture of a folder, in any of the layouts that trainer-train reads.
    list: count pictures by place, with the reasons why some wait. quarantine: draw those that wait.
    release HASH...: label them, with --as. reject HASH...: never learn from them.
    export DIR: copy all to a folder in MVTec layout, with --coco one annotation file for each part.
    The first characters of a HASH are enough.
    check DIR: show what would be learned from a folder, and what looks wrong; needs no --store.
    """

    action: CliPositionalArg[
        Literal["import", "list", "quarantine", "release", "reject", "export", "check"]
    ] = Field(description="what to do")
    what: Annotated[CliPositionalArg[list[str]], Metavar("DIR|HASH...")] = Field(
        default=[], description="DIR or HASH..., depending on the action"
    )
    store: Folder | None = Field(
        default=None, description="folder of the sample store; import makes it, check needs none"
    )
    as_kind: Annotated[str, Metavar("KIND")] = Field(
        default="", description="release: good, or the name of the defect in the pictures"
    )
    by: Name = Field(default="", max_length=64, description="release, reject: who decides")
    out: File | None = Field(
        default=None,
        description="quarantine, check: picture to write, .png or .jpg; default: quarantine.jpg, "
        "check.jpg",
    )
    zones: File | None = Field(
        default=None, description="check: draw the zones of this zones.json over the pictures"
    )
    zones_camera: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_CAMERA)
    zones_product: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_PRODUCT)
    coco: bool = Field(default=False, description="export: write COCO annotation files too")
    backbone: BackboneName = Field(
        default="efficientnet_lite0",
        description="import: ImageNet encoder to compare new pictures with",
    )
    weights: File | None = Field(
        default=None, description="the backbone's weights, .pth or .safetensors"
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    oddness: float = Field(
        default=ODDNESS,
        gt=0,
        description="import: standard deviations from which a new normal part waits",
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    as_json: bool = Field(default=False, description="import, list, quarantine, check: print JSON")


class EvaluateSettings(CommandSettings):
    """Judge labelled pictures with an engine file and show how good it is."""

    engine: Path = Field(description="engine file, with its manifest beside it")
    data: Path = Field(
        description="folder of pictures: MVTec, BTAD, DAGM, KolektorSDD2, or normal, abnormal, mask"
    )
    backend: Backend = Field(default="auto", description="what runs the engine")
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    out: Path | None = Field(
        default=None, description="folder for pictures of the worst cases; default: none are drawn"
    )
    as_json: bool = Field(default=False, description="print JSON instead of tables")
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    zones: File | None = Field(
        default=None, description=f"{_ZONES}; default: those that the engine was trained with"
    )
    zones_camera: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_CAMERA)
    zones_product: Annotated[str, Metavar("NAME")] = Field(default="", description=_ZONES_PRODUCT)
    with_seen: bool = Field(
        default=False,
        description="also test with pictures that the engine learned from (seen.json beside it)",
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    escape_cost: float | None = Field(
        default=None,
        gt=0,
        description="cost of a missed defect, in any unit: find the cheapest threshold",
    )
    false_reject_cost: float = Field(
        default=1.0, gt=0, description="cost of a rejected good part, in the same unit"
    )
    defect_share: float = Field(
        default=0.01, gt=0, lt=1, description="share of all parts that are defective, 0..1"
    )
    worst: int = Field(default=8, ge=1, le=100, description="pictures on each sheet of worst cases")
