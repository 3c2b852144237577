import os
from pathlib import Path

import pytest
from gpu_rig import Rig, open_rig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """The kernel, compiled and loaded for this machine's GPU.

    No machine of CI has a GPU, so a missing one skips there too: `make gpu` counts a skip as a
    failure. PRN_KERNEL_DEVICE=cpu runs these tests through the kernel's run on a CPU instead.
    """
    device = os.environ.get("PRN_KERNEL_DEVICE", "cuda")
    folder = os.environ.get("PRN_KERNEL_FOLDER")
    try:
        return open_rig(device, Path(folder) if folder else tmp_path_factory.mktemp("kernel"))
    except LookupError as error:
        pytest.skip(str(error))
