"""How a command reads picture files: facts that the files themselves do not state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureRules:
    """How picture files are read, as set by a person; the same for training and line."""

    allow_stray_bytes: bool = False  # skip bytes between the segments of a JPEG
    bits: int | None = None  # used by values of 16-bit files, 9 to 16; None: 16, if all are used


AS_STORED = PictureRules()
