"""What a test does where this machine lacks what it needs."""

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip where a person works, fail in CI: a check that never runs is no check."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
