"""What a worker loads of ours before it judges: what it was not asked for stays out."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from inputs.onnx_graphs import small_graph, write_graph

MOST_MODULES = 60  # packages, which hold no more than a docstring or names, not counted
# all that a worker with --engine FILE --redis-url URL does before it connects
PROGRAM = """
import sys
from pathlib import Path
import pipeline.cli
import pipeline.worker.process
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.loading import load_engine

settings = WorkerSettings(engine=Path(sys.argv[1]), skip_admission=True)
load_engine(settings.engine, settings.engine_options()).close()
for name, module in sys.modules.items():
    if name.partition(".")[0] in {"engines", "pipeline", "trainer"}:
        if not hasattr(module, "__path__"):
            print(name)
"""


@pytest.fixture
def loaded(tmp_path: Path) -> list[str]:
    engine = tmp_path / "small.onnx"
    write_graph(engine, small_graph(32, 32), 32, 32)
    command = [sys.executable, "-c", PROGRAM, str(engine)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_worker_loads_at_most_sixty_modules_before_it_judges(loaded: list[str]) -> None:
    assert "engines.backends.openvino" in loaded
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


@pytest.mark.parametrize(
    "unasked",
    [
        "engines.registry.registry",
        "pipeline.worker.swap.controller",
        "pipeline.worker.archiver",
        "pipeline.archive.archive",
        "pipeline.ring.ring",
        "pipeline.streams.embedded",
    ],
)
def test_worker_does_not_load_what_it_was_not_asked_for(loaded: list[str], unasked: str) -> None:
    assert find_spec(unasked) is not None
    assert unasked not in loaded
