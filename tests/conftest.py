import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

pytest.register_assert_rewrite("fakes", "inputs", "rigs")
settings.register_profile("line", deadline=None)  # a busy machine is no failure
settings.load_profile("line")


def missing(reason: str) -> None:
    """Skip where a person works, fail in CI."""
    from rigs.missing import missing as skip_or_fail  # noqa: PLC0415  # rewritten by pytest first

    skip_or_fail(reason)


def program(name: str, why: str) -> str:
    """Find a program of the machine's."""
    found = shutil.which(name)
    if found is None:
        missing(why)
    return str(found)


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
    return program(
        os.environ.get("CXX", "g++"),
        "no g++ to compile the kernel with: install it, or name another one in CXX",
    )


@pytest.fixture
def openssl() -> str:
    """The program that makes certificates."""
    return program("openssl", "no openssl to make a certificate with")


@pytest.fixture(scope="session")
def systemctl() -> str:
    """The program that enables units."""
    return program("systemctl", "no systemctl to enable the units with: install systemd")


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """The program that judges units; no package of an index brings it."""
    return program("systemd-analyze", "no systemd-analyze to judge the units with: install systemd")
