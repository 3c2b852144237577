"""Formats that no journey leaves on disk: the frame ring, and the history of a line's distances."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from names import look_up

_HEADER_BYTES, _SLOT_BYTES, _PIXELS_AT = 64, 64, 4096
_PERIOD_NS = 3600 * 10**9


def capture(root: Path) -> dict[str, Any]:
    """Return the layout of a ring with one frame in it, and the history of made-up verdicts."""
    del root
    return {"ring": _ring(), "drift": _drift()}


def _ring() -> dict[str, Any]:
    names = [look_up("ring_name")("line-1", camera) for camera in ("cam-1", "a/b", "x" * 99)]
    with tempfile.TemporaryDirectory() as folder:
        ring = look_up("RingWriter").create(names[0], 2, 300, Path(folder))
        try:
            place = ring.write(np.arange(300, dtype=np.uint8).reshape(10, 10, 3), 7)
            content = (Path(folder) / names[0]).read_bytes()
        finally:
            ring.close()
        slots = [_words(content, _HEADER_BYTES + at * _SLOT_BYTES) for at in range(2)]
        return {
            "names": names,
            "bytes": len(content),
            "header": content[:_HEADER_BYTES].hex(),
            # generations start from the clock
            "written": [slots[0][0] - slots[0][1], *slots[0][2:]],
            "free": [slots[1][0] - slots[1][1], *slots[1][2:]],
            "place": [place.slot, place.generation - slots[0][0]],
            "pixels": content[_PIXELS_AT : _PIXELS_AT + 16].hex(),
        }


def _words(content: bytes, at: int) -> list[int]:
    return [int(word) for word in np.frombuffer(content, np.uint64, _SLOT_BYTES // 8, at)]


def _drift() -> list[Any]:
    rng = np.random.default_rng(5)
    rows = [_row(number, rng) for number in range(480)]
    return [_rounded(dataclasses.astuple(camera)) for camera in look_up("drift_history")(rows)]


def _row(number: int, rng: np.random.Generator) -> dict[str, Any]:
    moved = 1.5 if number > 400 else 1.0
    return {
        "camera": "cam-1",
        "engine": {"sha256": "ab" * 32},
        "captured_ns": number * _PERIOD_NS // 100,
        "score": 1.0 if number % 50 == 0 else 0.1,
        "threshold": 0.5,
        "distance": [float(moved * rng.lognormal(0, 0.1)) for _ in range(2)],
        "cells": [float(moved * rng.lognormal(-2, 0.1)) for _ in range(4)],
    }


def _rounded(value: Any) -> Any:  # noqa: ANN401  # JSON
    match value:
        case tuple() | list():
            return [_rounded(part) for part in value]
        case float():
            return f"{value:.6g}"
        case str():
            return str(value)
    return value
