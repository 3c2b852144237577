"""The flags about a data folder, the same in every command that reads one."""

from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from engines.commandline.flags import File, Metavar
from engines.commandline.picture_flags import PictureFlags

GroupsFile = Annotated[
    File | None,
    Field(description="CSV of picture and group: pictures of one part or series, kept together"),
]
GroupPattern = Annotated[
    Annotated[str, Metavar("REGEX")] | None,
    Field(
        description="regular expression that finds the group in a picture's path in the data "
        r"folder, such as (part\d+)_: what stands in its brackets, or all of it"
    ),
]


class DataFlags(PictureFlags, Protocol):
    """Settings with the flags about pictures and their groups."""

    @property
    def groups(self) -> Path | None:
        """The file that names groups."""

    @property
    def group_pattern(self) -> str | None:
        """The pattern that names groups."""
