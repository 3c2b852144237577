import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("line", deadline=None)  # a busy machine is no failure
settings.load_profile("line")


def missing(reason: str) -> None:
    """Skip where a person works, fail in CI: a check that never runs is no check."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights that lies beside the repository."""
    found = Path(os.environ.get("PRN_SHARED", Path(__file__).parents[2] / "shared"))
    if not found.is_dir():
        missing(f"no real images: set PRN_SHARED or put them in {found}")
    return found


@pytest.fixture(scope="session")
def cxx() -> str:
    """The C++ compiler, which nvcc needs too."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        missing("no g++ to compile the kernel with: install it, or name another one in CXX")
    return str(found)


@pytest.fixture
def openssl() -> str:
    """The program that makes certificates."""
    found = shutil.which("openssl")
    if found is None:
        missing("no openssl to make a certificate with")
    return str(found)


@pytest.fixture(scope="session")
def systemctl() -> str:
    """The program that enables units."""
    found = shutil.which("systemctl")
    if found is None:
        missing("no systemctl to enable the units with: install systemd")
    return str(found)


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """The program that judges units; no package of an index brings it."""
    found = shutil.which("systemd-analyze")
    if found is None:
        missing("no systemd-analyze to judge the units with: install systemd")
    return str(found)
