"""The commands of this package, one function each; what they do stands in the module they name.

Everything is imported late: help stays fast, and a command that runs for long hears SIGTERM first.
"""

from collections.abc import Callable
from typing import Any

from engines.commandline.signals import ended_by_sigterm


def _run(prog: str, settings_type: Any, main: Callable[[Any], int | None]) -> None:  # noqa: ANN401
    from engines.commandline.run import run_command  # noqa: PLC0415
    from engines.errors import EngineError  # noqa: PLC0415
    from pipeline.errors import PipelineError  # noqa: PLC0415

    run_command(prog, settings_type, main, (PipelineError, EngineError))


def worker() -> None:
    """`pipeline-worker`: judge the frames of a line."""
    with ended_by_sigterm():
        from pipeline.worker.settings import WorkerSettings  # noqa: PLC0415

        _run("pipeline-worker", WorkerSettings, _worker)


def _worker(settings: Any) -> int:  # noqa: ANN401  # as run_command passes it
    from pipeline.worker.process import run  # noqa: PLC0415  # needs an extra, which help does not

    return run(settings)


def camera() -> None:
    """`pipeline-camera`: offer pictures to a line."""
    with ended_by_sigterm():
        from pipeline.camera.process import CameraSettings, run  # noqa: PLC0415
        from pipeline.camera.sources.live import hung_readers_left_behind  # noqa: PLC0415

        with hung_readers_left_behind():
            _run("pipeline-camera", CameraSettings, run)


def join() -> None:
    """`pipeline-join`: one verdict per part from several views."""
    with ended_by_sigterm():
        from pipeline.station.process import JoinSettings, run  # noqa: PLC0415

        _run("pipeline-join", JoinSettings, run)


def consume() -> None:
    """`pipeline-consume`: print verdicts."""
    with ended_by_sigterm():
        from pipeline.commands.consume import ConsumeSettings, run  # noqa: PLC0415

        _run("pipeline-consume", ConsumeSettings, run)


def bridge() -> None:
    """`pipeline-bridge`: send verdicts to a PLC or an MES."""
    with ended_by_sigterm():
        from pipeline.bridge.process import run  # noqa: PLC0415
        from pipeline.bridge.settings import BridgeSettings  # noqa: PLC0415

        _run("pipeline-bridge", BridgeSettings, run)


def fake_plc() -> None:
    """`pipeline-fake-plc`: play the PLC of a reject gate against a bridge."""
    from pipeline.fake_plant.process import FakePlcSettings, run  # noqa: PLC0415

    _run("pipeline-fake-plc", FakePlcSettings, run)


def control() -> None:
    """`pipeline-control`: change thresholds on a running line."""
    from pipeline.commands.control import ControlSettings, run  # noqa: PLC0415

    _run("pipeline-control", ControlSettings, run)


def label() -> None:
    """`pipeline-label`: say what frames truly showed."""
    from pipeline.commands.label import LabellingSettings, run  # noqa: PLC0415

    _run("pipeline-label", LabellingSettings, run)


def reconcile() -> None:
    """`pipeline-reconcile`: prove one verdict for every part."""
    from pipeline.commands.reconcile import ReconcileSettings, run  # noqa: PLC0415

    _run("pipeline-reconcile", ReconcileSettings, run)


def doctor() -> None:
    """`pipeline-doctor`: say what this machine lacks."""
    from pipeline.commands.doctor import DoctorSettings, run  # noqa: PLC0415

    _run("pipeline-doctor", DoctorSettings, run)


def bench() -> None:
    """`pipeline-bench`: measure what the line adds to the bare engine."""
    from pipeline.commands.bench import LineBenchSettings, run  # noqa: PLC0415

    _run("pipeline-bench", LineBenchSettings, run)


def drill() -> None:
    """`pipeline-drill`: kill processes on purpose and prove that no part is lost."""
    from pipeline.drill.drill import DrillSettings, run  # noqa: PLC0415

    _run("pipeline-drill", DrillSettings, run)


def demo() -> None:
    """`pipeline-demo`: the whole line on one machine."""
    from pipeline.demo.demo import DemoSettings, run  # noqa: PLC0415

    _run("pipeline-demo", DemoSettings, run)


def loop() -> None:
    """`pipeline-loop`: a line that learns, on one machine."""
    from pipeline.demo.loop.settings import LoopSettings  # noqa: PLC0415

    _run("pipeline-loop", LoopSettings, _loop)


def _loop(settings: Any) -> int | None:  # noqa: ANN401
    from pipeline.demo.loop.loop import run  # noqa: PLC0415

    return run(settings)


def redis() -> None:
    """`pipeline-redis`: run the embedded Redis by itself."""
    with ended_by_sigterm():
        from pipeline.commands.redis import RedisSettings, run  # noqa: PLC0415

        _run("pipeline-redis", RedisSettings, run)
