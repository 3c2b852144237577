import os
import sys
from pathlib import Path

import pytest

from engines.errors import BackendError, ShapeError
from engines.residual.compile_kernel import (
    ARCHITECTURES,
    CompiledKernel,
    KernelUsage,
    compile_kernel,
    find_nvcc,
    parse_usage,
)
from engines.residual.launcher import ResidualKernel, Scale


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, cxx: str) -> CompiledKernel:
    assert cxx
    return compile_kernel(tmp_path_factory.mktemp("nvcc"), find_nvcc(os.environ))


def test_every_architecture_has_every_kernel_without_spills(compiled: CompiledKernel) -> None:
    phases = ("distances", "residuals")
    kernels = {f"prn_{phase}_{kind}" for phase in phases for kind in ("float16", "float32")}
    found = {(each.kernel, each.architecture) for each in compiled.usage}
    assert found == {(kernel, each) for kernel in kernels for each in ARCHITECTURES}
    assert len(compiled.usage) == len(found)
    for each in compiled.usage:
        local = (each.stack_bytes, each.spill_store_bytes, each.spill_load_bytes)
        assert local == (0, 0, 0), each


def test_two_blocks_of_distances_fit_every_multiprocessor(compiled: CompiledKernel) -> None:
    for each in compiled.usage:
        if each.kernel.startswith("prn_distances"):
            assert 2 * 256 * each.registers <= 65536
            assert 2 * each.shared_bytes <= 65536  # Turing's, the least


def test_compiled_library_answers_without_a_gpu(compiled: CompiledKernel) -> None:
    kernel = ResidualKernel(compiled.library)
    scale = Scale(features=16, prototypes=16, residual=16, elements=65536, prototypes_count=20)
    tile = kernel.workspace_bytes([scale], 8)
    assert tile == kernel.workspace_bytes([scale], 1)
    assert tile < kernel.workspace_bytes([scale], 9) < 2 * tile + 1
    with pytest.raises(ShapeError, match="batch"):
        kernel.workspace_bytes([scale], 0)


def program(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)
    return path


SAID = [
    "ptxas info    : Compiling entry function 'prn_one' for 'sm_90'",
    "ptxas info    : Function properties for prn_one",
    "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads",
    "ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 64 bytes smem",  # noqa: E501  # as it is
    "ptxas info    : Compiling entry function 'prn_two' for 'sm_100'",
    "ptxas info    : Function properties for prn_two",
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
    "ptxas info    : Used 24 registers, used 0 barriers",
]


def compiler(path: Path, version: str = "13.0") -> Path:
    """Stand in for nvcc: reports SAID, writes the file after -o, and notes that it was called."""
    return program(
        path,
        f'[ "$1" = --version ] && echo {version} && exit 0',
        f"echo called >> {path}.calls",
        *(f'echo "{line}"' for line in SAID),
        'while [ "$1" != -o ]; do shift; done; echo made > "$2"',
    )


def calls(nvcc: Path) -> int:
    return len(nvcc.with_name(nvcc.name + ".calls").read_text("utf-8").splitlines())


def test_report_is_read_kernel_by_kernel() -> None:
    one, two = parse_usage("\n".join(SAID))
    assert one == KernelUsage("prn_one", 90, 40, 8, 4, 12, 64)
    assert two == KernelUsage("prn_two", 100, 24, 0, 0, 0, 0)


def test_report_in_other_words_is_refused() -> None:
    with pytest.raises(BackendError, match="not understood"):
        parse_usage("\n".join(SAID[:2]))


def test_kernel_is_compiled_once_for_the_same_source_and_compiler(tmp_path: Path) -> None:
    nvcc = compiler(tmp_path / "nvcc")
    first = compile_kernel(tmp_path / "libraries", nvcc)
    assert compile_kernel(tmp_path / "libraries", nvcc) == first
    assert calls(nvcc) == 1
    assert sorted(each.suffix for each in (tmp_path / "libraries").iterdir()) == [".json", ".so"]


def test_kernel_is_compiled_again_for_anything_else(tmp_path: Path) -> None:
    nvcc, source = compiler(tmp_path / "nvcc"), tmp_path / "other.cu"
    source.write_text("// another", "utf-8")
    made = {compile_kernel(tmp_path, nvcc).library}
    made.add(compile_kernel(tmp_path, nvcc, source).library)
    made.add(compile_kernel(tmp_path, nvcc, architectures=[90]).library)
    made.add(compile_kernel(tmp_path, compiler(nvcc, "13.1")).library)
    assert len(made) == calls(nvcc) == 4


def test_failed_compilation_says_the_first_errors_and_leaves_nothing(
    tmp_path: Path, cxx: str
) -> None:
    assert cxx
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void wrong() { nonsense; }", "utf-8")
    with pytest.raises(BackendError, match=r'wrong\.cu\(1\): error: .*"nonsense" is undefined'):
        compile_kernel(tmp_path / "libraries", find_nvcc(os.environ), source, [90])
    assert list((tmp_path / "libraries").iterdir()) == []


def test_compiler_that_does_not_start_is_a_backend_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="does not start"):
        compile_kernel(tmp_path, tmp_path / "nvcc")


def test_nvcc_is_looked_for_in_cuda_home_then_on_the_path_then_among_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [each for each in sys.modules if each.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    home, on_path, wheel = (
        compiler(tmp_path / folder / "nvcc") for folder in ("home/bin", "path", "nvidia/cu13/bin")
    )
    environment = {"CUDA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}
    for found in (home, on_path, wheel):
        assert find_nvcc(environment) == found
        found.unlink()
    with pytest.raises(BackendError, match="pip install nvidia-cuda-nvcc"):
        find_nvcc(environment)
