"""What pipeline-doctor finds out about the GPU."""

from fakes.gpu_driver import NOT_INITIALISED, FakeDriver

from engines.machine import list_gpus
from pipeline.commands.machine_checks import CheckStatus, check_gpu


def absent(name: str) -> FakeDriver:
    raise OSError(f"{name}: no such file")


def test_machine_without_driver_is_fine() -> None:
    state, found = check_gpu(lambda: list_gpus(absent))
    assert state is CheckStatus.OK
    assert "the CPU judges" in found


def test_driver_that_does_not_start_is_a_warning() -> None:
    state, found = check_gpu(lambda: list_gpus(lambda _: FakeDriver(status=NOT_INITIALISED)))
    assert state is CheckStatus.WARNING
    assert "error number 3: see nvidia-smi" in found


def test_gpus_are_counted_and_the_first_is_named() -> None:
    _, found = check_gpu(lambda: list_gpus(lambda _: FakeDriver(["NVIDIA L4", "NVIDIA L40"])))
    assert found.startswith("2: NVIDIA L4")
    _, found = check_gpu(lambda: list_gpus(lambda _: FakeDriver()))
    assert found.startswith("driver, but no GPU")
