"""`engine-admit`: prove an engine on this machine."""

import sys

from pydantic import Field

from engines.admission.admit import admit as admit_engine
from engines.admission.speed_baseline import LEAST_GAIN, LEAST_PLAN_GAIN
from engines.commandline.flags import File, Folder
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits, picture_rules
from engines.commandline.terminal import Terminal
from engines.commands.engine_settings import EngineSettings
from engines.commands.tables import admission_report
from engines.manifest import read_manifest
from engines.open import Runtime
from engines.trial_frames import TrialPictures

REFUSED_STATUS = 1


class AdmitSettings(EngineSettings):
    """Prove that an engine answers like the reference here, and record it in its manifest."""

    images: Folder | None = Field(
        default=None, description="folder of pictures to compare on; default: synthetic frames"
    )
    max_images: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="number of pictures to use, evenly spread over the names",
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    repeats: int = Field(default=20, ge=1, le=10_000, description="timed calls for each batch size")
    reference: File | None = Field(
        default=None,
        description="ONNX file that a plan was built from; by default searched beside the plan",
    )
    rival: File | None = Field(
        default=None,
        description="fp16 plan of the same ONNX file that an 8-bit plan must outrun",
    )
    least_gain: float | None = Field(
        default=None,
        ge=0,
        description="speed-up that an 8-bit engine must reach over float32 (a plan: over its "
        f"rival) to be worth its risk; default: {LEAST_GAIN} (a plan: {LEAST_PLAN_GAIN})",
    )


def run_admit(settings: AdmitSettings) -> int:
    """Run the admission, print the report and return the exit status."""
    if settings.images is not None and not settings.images.is_dir():
        raise NotADirectoryError(f"--images {settings.images} is not a folder")
    pictures = None
    if settings.images is not None:
        rules = picture_rules(settings)
        pictures = TrialPictures(settings.images, settings.max_images, rules)
    admission = admit_engine(
        settings.engine,
        pictures,
        Runtime(settings.backend, settings.device, settings.threads),
        settings.repeats,
        settings.reference,
        settings.least_gain,
        settings.rival,
    )
    if settings.as_json:
        sys.stdout.write(admission.model_dump_json(indent=2) + "\n")
    else:
        Terminal().print(admission_report(read_manifest(settings.engine), admission))
    return 0 if admission.admitted else REFUSED_STATUS
