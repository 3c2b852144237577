"""Compile `kernel.cu` for the GPUs that we support; needs nvcc and g++, but no GPU."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engines.errors import BackendError

SOURCE = Path(__file__).with_name("kernel.cu")
# Turing, Ampere and its cards, Ada, Hopper, Blackwell and its cards; later GPUs run the last PTX.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

_FLAGS = (
    *("-O3", "-std=c++17", "-cudart", "static", "-shared"),
    *("-Xcompiler", "-fPIC", "-Xptxas", "-v"),
)
_PACKAGE = "nvidia.cu13"  # folder of the programs in nvidia's wheels of CUDA 13
_ERROR_LINES = 5
_ENTRY = re.compile(r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<architecture>\d+)\w?'")
_STACK = re.compile(
    r"(?P<stack_bytes>\d+) bytes stack frame, (?P<spill_store_bytes>\d+) bytes spill stores, "
    r"(?P<spill_load_bytes>\d+) bytes spill loads"
)
_USED = re.compile(r"Used (?P<registers>\d+) registers(?:.*?, (?P<shared_bytes>\d+) bytes smem)?")


@dataclass(frozen=True, slots=True)
class KernelUsage:
    """The resources that a kernel needs of a multiprocessor, from the assembler's report."""

    kernel: str
    architecture: int  # 90 for compute capability 9.0
    registers: int  # of a thread
    stack_bytes: int  # local memory of a thread
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int  # of a block


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A library that `ResidualKernel` loads."""

    library: Path
    usage: tuple[KernelUsage, ...]  # of every kernel on every architecture


def find_nvcc(environment: Mapping[str, str]) -> Path:
    """Find CUDA's compiler: in $CUDA_HOME, on $PATH, or from nvidia's wheels.

    Raises:
        BackendError: there is no compiler.
    """
    candidates = (
        [Path(environment["CUDA_HOME"], "bin", "nvcc")] if "CUDA_HOME" in environment else []
    )
    on_path = shutil.which("nvcc", path=environment.get("PATH", ""))
    candidates += [Path(on_path)] if on_path else []
    candidates += [folder / "bin" / "nvcc" for folder in _wheel_folders()]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise BackendError(
        "no nvcc in $CUDA_HOME, on $PATH or among the Python packages: install CUDA 13, or pip "
        "install nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl nvidia-nvvm"
    )


def compile_kernel(
    folder: Path,
    nvcc: Path,
    source: Path = SOURCE,
    architectures: Sequence[int] = ARCHITECTURES,
) -> CompiledKernel:
    """Compile into `folder`, or reuse a library compiled there from the same source and options.

    Args:
        folder: where libraries are kept; created if missing. Processes may share it.
        nvcc: the compiler, from `find_nvcc`.
        source: the file to compile.
        architectures: compute capabilities times ten, rising; PTX is kept for the last.

    Raises:
        BackendError: nvcc does not run, or cannot compile the source.
    """
    flags = [*_FLAGS, *_targets(architectures)]
    version = _run([str(nvcc), "--version"])
    content = "\0".join([source.read_text("utf-8"), *flags, version])
    name = f"prn_residual-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    library, report = folder / f"{name}.so", folder / f"{name}.json"
    if not (library.is_file() and report.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".compile-") as room:
            made, said = Path(room, library.name), Path(room, report.name)
            command = [str(nvcc), *flags, *_runtime_folder(nvcc), str(source), "-o", str(made)]
            usage = parse_usage(_run(command))
            said.write_text(json.dumps([asdict(each) for each in usage], indent=1), "utf-8")
            said.replace(report)
            made.replace(library)  # moved last: a library always has its report
    rows = json.loads(report.read_text("utf-8"))
    return CompiledKernel(library, tuple(KernelUsage(**row) for row in rows))


def parse_usage(said: str) -> list[KernelUsage]:
    """Parse the output of ptxas -v: three lines per kernel and architecture."""
    usage = []
    for part in re.split(r"(?=Compiling entry function)", said)[1:]:
        entry, stack, used = _ENTRY.search(part), _STACK.search(part), _USED.search(part)
        if not (entry and stack and used):
            raise BackendError(f"nvcc's report is not understood, expected CUDA 13: {part[:200]!r}")
        counts = {**stack.groupdict(), **used.groupdict(default="0")}
        usage.append(
            KernelUsage(
                kernel=entry["kernel"],
                architecture=int(entry["architecture"]),
                **{name: int(count) for name, count in counts.items()},
            )
        )
    return usage


def _targets(architectures: Sequence[int]) -> list[str]:
    newest = architectures[-1]
    codes = [(each, f"sm_{each}") for each in architectures] + [(newest, f"compute_{newest}")]
    return [f"-gencode=arch=compute_{each},code={code}" for each, code in codes]


def _wheel_folders() -> list[Path]:
    try:
        found = importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:  # no `nvidia` package at all
        return []
    return [Path(folder) for folder in (found and found.submodule_search_locations) or []]


def _runtime_folder(nvcc: Path) -> list[str]:
    """Return the runtime's flags: the wheels have it in lib, but their nvcc searches lib64."""
    folder = nvcc.parent.parent / "lib"
    return [f"-L{folder}"] if (folder / "libcudart_static.a").is_file() else []


def _run(command: list[str]) -> str:
    """Run a compiler; return all its output."""
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise BackendError(f"{command[0]} does not start ({error}): install CUDA 13") from error
    if done.returncode != 0:
        lines = done.stdout.splitlines()
        wrong = [line for line in lines if "error" in line.lower()] or lines
        raise BackendError("\n".join([f"{command[0]} failed:", *wrong[:_ERROR_LINES]]))
    return done.stdout
