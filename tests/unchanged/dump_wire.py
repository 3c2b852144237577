"""The bytes of every kind of message, and what reading them back gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from names import look_up
from numpy.typing import NDArray

SECOND_NS = 10**9
CAPTURED_NS = 1_764_140_400 * SECOND_NS  # 2025-11-26, 07:00 UTC
ENGINE = ("prn", "1.2", "ab" * 32)


def capture(root: Path) -> dict[str, Any]:
    """Return the bytes of each message, hex, what foreign bytes raise, and the limits."""
    del root
    return {"bytes": _encoded(), "refused": _refused(), "limits": _limits()}


def mask(height: int = 9, width: int = 7) -> NDArray[np.bool_]:
    """Return a mask with a block and a diagonal in it."""
    drawn = np.eye(height, width, dtype=np.bool_)
    drawn[2:5, 3:6] = True
    return drawn


def meta(scale: tuple[float, float] | None = None) -> Any:  # noqa: ANN401  # a FrameMeta
    """Return which part a frame shows."""
    due_ns = CAPTURED_NS + 2 * SECOND_NS
    return look_up("FrameMeta")("cam-1", 41, "part/ü-41", CAPTURED_NS, due_ns, scale)


def header(codec: str = "raw", *, ring: bool = False) -> Any:  # noqa: ANN401  # a FrameHeader
    """Return a frame's header, with or without a place in a ring."""
    place = look_up("RingPlace")("ring-cam-1", 3, 17) if ring else None
    scale = (0.05, 0.0625) if ring else None
    return look_up("FrameHeader")(meta(scale), look_up("Codec")(codec), (480, 640), place)


def judgement(judged: str = "NG", *, full: bool = True) -> Any:  # noqa: ANN401  # a Judgement
    """Return a judgement with every field set, or with as few as may be."""
    region = look_up("Region")
    regions = (region(2, 3, 3, 3, 9, 0.9, 0.25, 0.5, 0.75), region(0, 0, 1, 1, 1, 0.5))
    more = ((4, 7), (0.25, 1.5), (0.0, 0.125)) if full else ()
    return look_up("Judgement")(
        look_up("Decision")(judged),
        *(1.25, 0.625, 1.0, 0.5),
        regions if full else (),
        mask() if full else None,
        look_up("EngineName")(*ENGINE),
        look_up("Timings")(1.5, 2.25, 3.75, 4),
        "worker-1",
        *more,
    )


def label(**more: Any) -> Any:  # noqa: ANN401  # a Label
    """Return a label of a frame."""
    kind = look_up("LabelKind")("defect" if more else "normal")
    return look_up("Label")("1764140400000-0", kind, by="anna", at_ns=CAPTURED_NS, **more)


def rollout(state: str, why: str = "") -> Any:  # noqa: ANN401  # a RolloutRecord
    """Return what is known of a promotion."""
    known = look_up("RolloutState")(state)
    at = "2025-11-26T07:00:00+00:00"
    return look_up("RolloutRecord")("prn-1a2b", at, known, "worker-1", why, 2, 1_764_140_400_123)


def _messages() -> dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]]:
    outlines = (((0.0, 1.5), (2.0, 3.0), (4.5, 0.25)),)
    report = {"line": "line-1", "up_s": 1.5, "engine": list(ENGINE), "cameras": {"cam-1": [0.5]}}
    return {
        "header raw": ("encode_frame_header", (header(),), {}),
        "header jpeg": ("encode_frame_header", (header("jpeg"),), {}),
        "header png": ("encode_frame_header", (header("png"),), {}),
        "header ring": ("encode_frame_header", (header("ring", ring=True),), {}),
        "judgement full": ("encode_judgement", (judgement(),), {}),
        "judgement bare": ("encode_judgement", (judgement("OK", full=False),), {}),
        "label normal": ("encode_label", (label(),), {}),
        "label masked": ("encode_label", (label(defect="dent", mask=mask()),), {}),
        "label predicted": ("encode_label", (label(defect="dent", predicted=True),), {}),
        "label outlined": ("encode_label", (label(outlines=outlines),), {}),
        "control": ("encode_control", ("threshold",), {"value": 0.5, "engines": ["a", "b"]}),
        "report": ("encode_report", (report,), {}),
        "mask": ("pack_mask", (mask(),), {}),
        "mask large": ("pack_mask", (np.tile(mask(), (40, 50)),), {}),
        "rollout trying": ("encode_rollout", (rollout("trying"),), {}),
        "rollout held": ("encode_rollout", (rollout("held"),), {}),
        "rollout refused": ("encode_rollout", (rollout("refused", "ü" * 300),), {}),
    }


def _encoded() -> dict[str, str]:
    return {
        name: look_up(encode)(*arguments, **more).hex()
        for name, (encode, arguments, more) in _messages().items()
    }


def _refused() -> dict[str, str]:
    """Read each message back, then cut, spoilt and of another version: what each reader raises."""
    raised: dict[str, str] = {}
    for name, packed in _encoded().items():
        kind = name.split()[0]
        if kind == "mask":
            continue
        reader = _reader(kind)
        content = bytes.fromhex(packed)
        spoilt = {
            "whole": content,
            "cut": content[:-1],
            "no map": b"\x93\x01\x02\x03",
            "other version": content.replace(b"\xa1v\x01", b"\xa1v\x02", 1),
            "bare": b"\x81\xa1v\x01",
        }
        raised |= {f"{name}, {how}": _outcome(reader, bytes_) for how, bytes_ in spoilt.items()}
    return raised


def _reader(kind: str) -> Callable[[bytes], Any]:
    names = {"header": "frame_header", "rollout": "rollout"}
    reader: Callable[[bytes], Any] = look_up(f"decode_{names.get(kind, kind)}")
    return reader


def _outcome(reader: Callable[[bytes], Any], packed: bytes) -> str:
    try:
        reader(packed)
    except Exception as error:  # noqa: BLE001  # which one is the question
        return f"{type(error).__name__}: {error}"
    return "read"


def _limits() -> dict[str, int]:
    names = ("MAX_CORNERS", "MAX_NAME_CHARS", "MAX_OUTLINES", "MAX_REGIONS", "WIRE_VERSION")
    return {name: look_up(name) for name in names}
