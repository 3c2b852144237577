"""The flags about picture files, the same in every command that reads them."""

from typing import Annotated, Protocol

from pydantic import Field

from engines.pictures.rules import PictureRules

AllowStrayBytes = Annotated[
    bool,
    Field(description="read JPEG files of cameras that hold stray bytes between their segments"),
]
PictureBits = Annotated[
    int | None,
    Field(
        ge=9,
        le=16,
        description="bits that the values of 16-bit pictures use, from 9 to 16, such as 12 for a "
        "camera with Mono12: the upper 8 of them are taken; default: 16, and pictures that leave "
        "the upper 4 unused are refused",
    ),
]


class PictureFlags(Protocol):
    """The flags of every command that reads picture files."""

    @property
    def allow_stray_bytes(self) -> bool:
        """Return whether stray bytes are skipped."""

    @property
    def picture_bits(self) -> int | None:
        """Number of bits that the values of 16-bit pictures use."""


def picture_rules(settings: PictureFlags) -> PictureRules:
    """Return the rules that a command's flags set."""
    return PictureRules(settings.allow_stray_bytes, settings.picture_bits)
