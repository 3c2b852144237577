"""The commands of this package, one function each; each calls the module that implements it."""

from engines.commandline.run import run_command
from engines.errors import EngineError

_EXPECTED = (EngineError,)


def admit() -> None:
    """`engine-admit`: prove an engine on this machine; exits with 1 if it is refused."""
    from engines.commands.admit import AdmitSettings, run_admit  # noqa: PLC0415  # help stays fast

    run_command("engine-admit", AdmitSettings, run_admit, _EXPECTED)


def bench() -> None:
    """`engine-bench`: measure how fast an engine is."""
    from engines.commands.bench import EngineBenchSettings, run_bench  # noqa: PLC0415

    run_command("engine-bench", EngineBenchSettings, run_bench, _EXPECTED)


def build() -> None:
    """`engine-build`: build a TensorRT plan or an 8-bit engine."""
    from engines.commands.build import BuildSettings, run_build  # noqa: PLC0415

    run_command("engine-build", BuildSettings, run_build, _EXPECTED)


def import_model() -> None:
    """`engine-import`: turn an anomaly model in ONNX into an engine file."""
    from engines.commands.import_model import ImportSettings, run_import  # noqa: PLC0415

    run_command("engine-import", ImportSettings, run_import, _EXPECTED)
