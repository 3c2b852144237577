"""The engine that an 8-bit engine must outrun: fewer bits are a risk, taken only for speed.

A plan is compared with the fp16 plan on the same GPU. Any other engine is compared with the float32
file that it was made from, on the same cores.
"""

from dataclasses import dataclass
from pathlib import Path

from engines.admission.timing import Clock, measure_gain
from engines.engine import Engine
from engines.errors import AdmissionError
from engines.manifest import Manifest, read_manifest
from engines.open import Runtime, open_engine

# The speed-up over its baseline that makes the risk of an 8-bit engine worth taking.
LEAST_GAIN = 2.5  # over float32 on the same cores
# Over the fp16 plan: 64 % of prn-s's products are in 8 bits, which Tensor Cores compute at twice
# the rate of float16, so 1.47 is the upper limit. Chosen by that; no plan has run on a GPU yet.
LEAST_PLAN_GAIN = 1.2

LEAST_ROUNDS = 20  # calls of each: the clock also counts whatever runs beside them


@dataclass(frozen=True, slots=True)
class SpeedBaseline:
    """An engine of more bits, and the speed-up over it that an 8-bit engine must reach."""

    path: Path
    runtime: Runtime
    clock: Clock
    least_gain: float
    label: str  # as shown in reports, with the clock


def find_baseline(
    engine_path: Path, manifest: Manifest, given: Path | None, source: Path, runtime: Runtime
) -> SpeedBaseline | None:
    """Return the baseline of an 8-bit engine, or None for any other engine.

    Args:
        engine_path: the candidate.
        manifest: the candidate's.
        given: the fp16 plan, if the candidate is a plan.
        source: the float32 ONNX file that the candidate was built from.
        runtime: what runs the candidate.

    Raises:
        AdmissionError: an 8-bit plan has no baseline or one that does not fit, or another kind of
            engine has one.
    """
    eight = manifest.precision == "int8"
    if given is not None and not (eight and manifest.is_plan):
        raise AdmissionError(
            f"{engine_path.name} is {manifest.format} in {manifest.precision}: --rival is for "
            "8-bit plans"
        )
    if not eight:
        return None
    if not manifest.is_plan:
        on_cpu = Runtime("openvino", "cpu", runtime.threads)
        label = "the float32 engine, processor time"
        return SpeedBaseline(source, on_cpu, "processor", LEAST_GAIN, label)
    if given is None:
        raise AdmissionError(
            f"{engine_path.name} is an 8-bit plan, and nothing shows yet that it is faster "
            "on this GPU: build one of the same ONNX file with --precision fp16, and name it with "
            "--rival"
        )
    if not given.is_file():
        raise AdmissionError(f"no plan {given}: build one with engine-build --precision fp16")
    other = read_manifest(given)
    _check_fits(given.name, other, engine_path.name, manifest)
    label = f"{given.name} in {other.precision}, wall time"
    return SpeedBaseline(given, runtime, "wall", LEAST_PLAN_GAIN, label)


def measure_against(baseline: SpeedBaseline, engine: Engine, repeats: int) -> float:
    """Measure the speed-up of an engine over its baseline; see `measure_gain`.

    Raises:
        EngineError: the baseline does not open, or fails on the frames.
    """
    how = baseline.runtime
    with open_engine(baseline.path, how.backend, how.device, how.threads) as opened:
        rounds = max(repeats, LEAST_ROUNDS)
        return measure_gain(engine, opened.engine, rounds, baseline.clock)


def _check_fits(baseline: str, other: Manifest, name: str, manifest: Manifest) -> None:
    """Raise AdmissionError if `other` cannot be the baseline of this plan."""
    wrong = {
        f"is {other.format}, not {manifest.format}": other.format != manifest.format,
        # fp32 is slow: even an 8-bit plan that is slower than fp16 would outrun it
        f"is in {other.precision}, not in fp16": other.precision != "fp16",
        "was built from another ONNX file": other.built_from != manifest.built_from,
        f"is for {other.device}, not {manifest.device}": other.device != manifest.device,
        f"was built by {other.format_version}, not {manifest.format_version}": (
            other.format_version != manifest.format_version
        ),
        f"takes up to {other.max_batch} frames, not {manifest.max_batch}": (
            other.max_batch != manifest.max_batch
        ),
    }
    for reason, holds in wrong.items():
        if holds:
            raise AdmissionError(
                f"{baseline} {reason}, so it cannot be {name}'s rival: build one with engine-build "
                f"--backend {manifest.format} --precision fp16 from the ONNX file that {name} was "
                "built from"
            )
