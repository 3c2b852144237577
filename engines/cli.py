"""engine-admit, engine-bench, engine-build and engine-import."""

from typing import NoReturn

from engines.commandline.run import run_command
from engines.commands.admit import AdmitSettings, run_admit
from engines.commands.bench import BenchSettings, run_bench
from engines.commands.build import BuildSettings, run_build
from engines.commands.import_model import ImportSettings, run_import
from engines.errors import EngineError


def admit() -> NoReturn:
    """Run engine-admit; exits with 1 where the engine is refused."""
    run_command("engine-admit", AdmitSettings, run_admit, expected=(EngineError,))


def bench() -> NoReturn:
    """Run engine-bench."""
    run_command("engine-bench", BenchSettings, run_bench, expected=(EngineError,))


def build() -> NoReturn:
    """Run engine-build."""
    run_command("engine-build", BuildSettings, run_build, expected=(EngineError,))


def take_over() -> NoReturn:
    """Run engine-import."""
    run_command("engine-import", ImportSettings, run_import, expected=(EngineError,))
