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
_ZONES_CAMERA = "with --zones that name cameras: whose pictures these are"
_ZONES_PRODUCT = "with --zones: the product whose zones count"


class LearnSettings(CommandSettings):
    """From which pictures, into which folder, and how."""

    data: Folder = Field(
        description="folder of pictures: MVTec, BTAD, DAGM, KolektorSDD2, or normal, abnormal, mask"
    )
    out: Folder = Field(description="run folder: gets the engine file, its manifest and pictures")
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
        default=2000, ge=2, description="pictures of normal parts to use at most, drawn by seed"
    )
    seen: int = Field(
        default=10, ge=0, description="prn: defects to learn from, drawn by seed; 0: none is known"
    )
    leave_out: list[Annotated[str, Metavar("KIND")]] = Field(
        default=[], description="prn: kinds of defects never to learn from"
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    textures: Folder | None = Field(
        default=None, description="prn: folder with pictures of textures; drawn without it"
    )
    simulated_certainty: float = Field(
        default=SIMULATED_CERTAINTY,
        gt=0,
        le=1,
        description="prn: what the masks of simulated anomalies say where defects were seen, which "
        "say 1, so that strange ranks below known to be a defect; the paper's: 1",
    )
    minutes: float = Field(default=15.0, gt=0, description="prn: how long to train")
    steps: int | None = Field(
        default=None, ge=1, description="prn: how long to train, instead of minutes"
    )
    batch_size: int | None = Field(
        default=None,
        ge=4,
        description="prn: pictures in a step, a multiple of 4; default: 64, prn-s: 8",
    )
    prototype_share: float = Field(
        default=PROTOTYPE_SHARE, gt=0, le=1, description="prn: prototypes by normal pictures, 0..1"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        description="prn: what trains: auto (a GPU if there is one), cpu, cuda or cuda:N",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="prn: of the convolutions; auto: bf16 on a GPU, on a CPU the faster one, "
        "kept in --out for a run that goes on",
    )
    optimiser: Literal["adamw", "adam"] = Field(
        default="adamw", description="prn: adam is the paper's"
    )
    without: list[Ablation] = Field(
        default=[],
        description="prn: parts to leave out, to see what they are worth: prototypes (mp), fusion "
        "(mf), attention (msa), extended (ea), heterologous (hea) and homologous (hoa) "
        "anomalies, transparency (ta), leave-one-out residuals (loo), and of the map, beside what "
        "was trained, the faint untrained residual (rm)",
    )

    @field_validator("size")
    @classmethod
    def _fits_strides(cls, size: int) -> int:
        if size % STRIDES[-1]:
            raise ValueError(f"{size} is no multiple of {STRIDES[-1]}")
        return size


class TrainSettings(LearnSettings):
    """Learn a network from pictures of normal parts and write its engine file."""

    as_json: bool = Field(
        default=False, description="print what became of every file as JSON, all else on stderr"
    )
    model: Literal["protoad", "prn", "prn-s"] = Field(
        default="protoad",
        description="protoad: minutes, from normal parts alone; prn: the paper's network, wants a "
        "GPU; prn-s: the same parts, slimmer, a quarter of an hour on two cores",
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
    """Train what a table of PRN's paper compares, and print it beside the paper's figures.

    --data may be one dataset, or a folder of several, as MVTec AD comes.
    """

    table: CliPositionalArg[TableName] = Field(
        description="table4: the network's parts; table5: anomalies; table6: prototypes; table7: "
        "seen defects; datasets: PRN beside what needs no training"
    )
    model: PrnSize = Field(default="prn-s", description="prn: the paper's size, wants a GPU")
    simulated_certainty: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="what the masks of simulated anomalies say where defects were seen; the "
        f"paper's: 1, trainer-train's: {SIMULATED_CERTAINTY}",
    )
    seeds: int = Field(default=3, ge=1, description="trainings of each row, from --seed on")
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
        default=None, description="folder with pictures of textures; drawn by formula without it"
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
        default=200, ge=1, description="pictures of normal parts to use at most, drawn by seed"
    )


class SamplesSettings(CommandSettings):
    """Keep the labelled pictures that a line learns from, and decide what waits.

    import DIR: take every picture of a folder, in any of the layouts that trainer-train reads.
    list: how many are where, and why pictures wait. quarantine: draw those that wait.
    release HASH...: say what they show, with --as. reject HASH...: never learn from them.
    export DIR: copy all to a folder in MVTec layout, with --coco one annotation file for each part.
    A beginning of a HASH is enough.
    check DIR: say what would be learned from a folder, and what looks wrong; needs no --store.
    """

    action: CliPositionalArg[
        Literal["import", "list", "quarantine", "release", "reject", "export", "check"]
    ] = Field(description="what to do")
    what: Annotated[CliPositionalArg[list[str]], Metavar("DIR|HASH...")] = Field(
        default=[], description="DIR or HASH..., as the action wants it"
    )
    store: Folder | None = Field(
        default=None, description="folder of the sample store; import makes it, check needs none"
    )
    as_kind: Annotated[str, Metavar("KIND")] = Field(
        default="", description="release: good, or the name of the defect that they show"
    )
    by: Name = Field(default="", max_length=64, description="release, reject: who says so")
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
        description="import: ImageNet encoder that new pictures are compared by",
    )
    weights: File | None = Field(
        default=None, description="the backbone's weights, .pth or .safetensors"
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    oddness: float = Field(
        default=ODDNESS,
        gt=0,
        description="import: standard deviations from which on a new normal part waits",
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    as_json: bool = Field(default=False, description="import, list, quarantine, check: print JSON")


class EvaluateSettings(CommandSettings):
    """Judge labelled pictures with an engine file and say how good it is."""

    engine: Path = Field(description="engine file, with its manifest beside it")
    data: Path = Field(
        description="folder of pictures: MVTec, BTAD, DAGM, KolektorSDD2, or normal, abnormal, mask"
    )
    backend: Backend = Field(default="auto", description="what runs the engine")
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    out: Path | None = Field(
        default=None, description="folder for pictures of the worst cases; none without it"
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
        description="test with the pictures that the engine learned from too (seen.json beside it)",
    )
    groups: GroupsFile = None
    group_pattern: GroupPattern = None
    escape_cost: float | None = Field(
        default=None,
        gt=0,
        description="what a defect let pass costs, in any unit: find the cheapest threshold",
    )
    false_reject_cost: float = Field(
        default=1.0, gt=0, description="what a good part rejected costs, in the same unit"
    )
    defect_share: float = Field(
        default=0.01, gt=0, lt=1, description="share of all parts that are defective, 0..1"
    )
    worst: int = Field(default=8, ge=1, le=100, description="pictures on each sheet of worst cases")
