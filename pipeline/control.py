"""Standing orders, until the command that gives them lands."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Standing:
    """What holds."""

    threshold: float | None = None
    pixel: float | None = None
    paused: bool = False


def apply(standing: Standing, message: dict[str, Any]) -> Standing:
    """Nothing yet."""
    return standing
