"""How a command reads picture files, where a person must say more than the files do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureRules:
    """What a person allows or states of picture files; the same for training and line."""

    allow_stray_bytes: bool = False  # skip bytes between the segments of a JPEG
    bits: int | None = None  # that values of 16-bit files use, 9 to 16; None: 16, if all are used


AS_STORED = PictureRules()
