"""Damaged labels: read whole or refused in one sentence, without much memory."""

import sys

import numpy as np

from engines.machine import peak_memory_mb
from fuzz.mutation import run_target
from pipeline.errors import LabelError
from pipeline.frames import Label, LabelKind
from pipeline.label_rules import check_label
from pipeline.wire.label import decode_label, encode_label

MOST_MB = 1024
ENTRY = "1764140000000-0"
OUTLINE = ((0.0, 1.0), (5.5, 2.0), (3.0, 9.0))
WORDS = [
    *(b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcf" + b"\xff" * 8),
    *(b"\xd3\x80" + b"\0" * 7, b"\xc0", b"\xc3", b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"),
    *(b"\xdf\xff\xff\xff\xff", b"\x91" * 600, b"\xcd\x1f\x40", b"\xce\0\x01\0\0", b"\xa4mask"),
]


def corpus() -> list[bytes]:
    """Labels with each kind of place."""
    small, large = np.zeros((9, 13), np.bool_), np.zeros((8000, 8000), np.bool_)
    small[2:5, 3:7] = large[7, 7] = True
    labels = [
        Label(ENTRY, LabelKind.DEFECT, "scratch", mask=small, by="anna"),
        Label(ENTRY, LabelKind.DEFECT, mask=large),
        Label(ENTRY, LabelKind.DEFECT, "dent", outlines=(OUTLINE,) * 3, at_ns=5),
        Label(ENTRY, LabelKind.DEFECT, predicted=True),
        *(Label(ENTRY, kind) for kind in LabelKind),
    ]
    return [encode_label(label) for label in labels]


def check(content: bytes) -> None:
    """Read the content as a label, which can then be sent again."""
    try:
        label = decode_label(content)
        check_label(label)
    except LabelError as error:
        check_sentence(str(error))
    else:
        again = decode_label(encode_label(label))
        assert again.outlines == label.outlines
        assert (again.mask is None) == (label.mask is None)
    assert peak_memory_mb() < MOST_MB, f"{peak_memory_mb():.0f} MB at the peak"


def check_sentence(sentence: str) -> None:
    """A refusal is shown to a person."""
    assert len(sentence) < 1000


if __name__ == "__main__":
    sys.exit(run_target(check, corpus(), WORDS, __doc__))
