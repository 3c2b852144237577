"""No library reports home: no name is looked up, and no file with an id appears in HOME."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.places import PROGRAMS, ROOT
from inputs.onnx_graphs import small_graph, write_graph
from rigs.missing import missing

UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
LOAD = """
import sys
from pathlib import Path
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.loading import load_engine

settings = WorkerSettings(engine=Path(sys.argv[1]), backend=sys.argv[2], skip_admission=True)
load_engine(settings.engine, settings.engine_options()).close()
"""
COMMANDS = {
    "worker with OpenVINO": ["-c", LOAD, "{engine}", "openvino"],
    "worker with ONNX Runtime": ["-c", LOAD, "{engine}", "onnxruntime"],
    "doctor": ["-c", "from pipeline.cli import doctor; doctor()"],
    "trainer": ["-c", "import trainer.export.engine_file"],
    "import of a model": ["-c", "import engines.conversion.onnx_import"],
    "quantisation": ["-c", "from engines.conversion import openvino_int8 as q; q._load_toolkit()"],
}
OF_THE_EMBEDDED_SERVER = "prn-line"  # the folder of its state
ASKS = "import socket\ntry: socket.getaddrinfo('home.example', 443)\nexcept OSError: pass"


def run_alone(folder: Path, words: list[str]) -> tuple[set[str], list[str]]:
    """Run Python on a machine of its own; return what it looked up and what it left in HOME."""
    home, names = folder / "home", folder / "names"
    home.mkdir()
    names.touch()
    kept = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}  # not CI: libraries heed it
    environment = {name: text for name, text in os.environ.items() if name in kept}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [*UNSHARE, sys.executable, str(PROGRAMS / "alone.py"), str(names), sys.executable]
    done = subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return set(names.read_text().split()), files


@pytest.fixture(autouse=True)
def _own_network() -> None:
    if os.geteuid() or subprocess.run([*UNSHARE, "true"], check=False).returncode:
        missing("no right to a network of its own (unshare --net): run this test as root")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_looks_up_no_name_and_leaves_no_id(command: str, tmp_path: Path) -> None:
    engine = tmp_path / "small.onnx"
    write_graph(engine, small_graph(32, 32), 32, 32)
    words = [word.replace("{engine}", str(engine)) for word in COMMANDS[command]]
    names, files = run_alone(tmp_path, words)
    assert names == set()
    assert [name for name in files if OF_THE_EMBEDDED_SERVER not in name] == []


def test_look_up_of_a_process_that_outlives_its_parent_is_seen(tmp_path: Path) -> None:
    forking = f"import os\nif os.fork() == 0:\n    os.setsid()\n    exec({ASKS!r})\n    os._exit(0)"
    names, _ = run_alone(tmp_path, ["-c", forking])
    assert names == {"home.example"}
