"""The commands of this package, one function each; what they do stands in the module they name."""

from engines.commandline.run import run_command
from engines.errors import EngineError
from pipeline.errors import PipelineError

_EXPECTED = (PipelineError, EngineError)


def worker() -> None:
    """`pipeline-worker`: judge the frames of a line."""
    from pipeline.worker.process import run  # noqa: PLC0415  # help stays fast
    from pipeline.worker.settings import WorkerSettings  # noqa: PLC0415

    run_command("pipeline-worker", WorkerSettings, run, _EXPECTED)


def camera() -> None:
    """`pipeline-camera`: offer pictures to a line."""
    from pipeline.camera.process import CameraSettings, run  # noqa: PLC0415

    run_command("pipeline-camera", CameraSettings, run, _EXPECTED)


def consume() -> None:
    """`pipeline-consume`: print verdicts."""
    from pipeline.commands.consume import ConsumeSettings, run  # noqa: PLC0415

    run_command("pipeline-consume", ConsumeSettings, run, _EXPECTED)


def control() -> None:
    """`pipeline-control`: change thresholds on a running line."""
    from pipeline.commands.control import ControlSettings, run  # noqa: PLC0415

    run_command("pipeline-control", ControlSettings, run, _EXPECTED)


def label() -> None:
    """`pipeline-label`: say what frames truly showed."""
    from pipeline.commands.label import LabellingSettings, run  # noqa: PLC0415

    run_command("pipeline-label", LabellingSettings, run, _EXPECTED)


def reconcile() -> None:
    """`pipeline-reconcile`: prove one verdict for every part."""
    from pipeline.commands.reconcile import ReconcileSettings, run  # noqa: PLC0415

    run_command("pipeline-reconcile", ReconcileSettings, run, _EXPECTED)


def doctor() -> None:
    """`pipeline-doctor`: say what this machine lacks."""
    from pipeline.commands.doctor import DoctorSettings, run  # noqa: PLC0415

    run_command("pipeline-doctor", DoctorSettings, run, _EXPECTED)


def bench() -> None:
    """`pipeline-bench`: measure what the line adds to the bare engine."""
    from pipeline.commands.bench import LineBenchSettings, run  # noqa: PLC0415

    run_command("pipeline-bench", LineBenchSettings, run, _EXPECTED)


def drill() -> None:
    """`pipeline-drill`: kill processes on purpose and prove that no part is lost."""
    from pipeline.commands.drill import DrillSettings, run  # noqa: PLC0415

    run_command("pipeline-drill", DrillSettings, run, _EXPECTED)


def demo() -> None:
    """`pipeline-demo`: the whole line on one machine."""
    from pipeline.demo.demo import DemoSettings, run  # noqa: PLC0415

    run_command("pipeline-demo", DemoSettings, run, _EXPECTED)


def loop() -> None:
    """`pipeline-loop`: a line that learns, on one machine."""
    from pipeline.demo.loop.loop import run  # noqa: PLC0415
    from pipeline.demo.loop.settings import LoopSettings  # noqa: PLC0415

    run_command("pipeline-loop", LoopSettings, run, _EXPECTED)


def redis() -> None:
    """`pipeline-redis`: run the embedded Redis by itself."""
    from pipeline.commands.redis import RedisSettings, run  # noqa: PLC0415

    run_command("pipeline-redis", RedisSettings, run, _EXPECTED)
