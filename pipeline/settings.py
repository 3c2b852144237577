"""Settings that every command of a line shares."""

import math
import os
import re
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from engines.commandline.flags import File, Folder, Metavar, Name
from engines.commandline.run import CommandSettings
from pipeline.errors import SettingsError
from pipeline.streams.address import check_password_file
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.keys import check_name

PASSWORD_VARIABLE = "PRN_REDIS_PASSWORD"  # noqa: S105  # the name of a variable, not a password
_URL_WITH_PASSWORD = re.compile(r"\w+://(?:[^/@\s]*:[^/@\s]+@|\S*[?&]password=)")


def default_state() -> Path:
    """Where the embedded Redis of this user keeps its data."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "prn-line"


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where a program's Redis is, who asks, and where an embedded server keeps its data."""

    access: Access
    state_dir: Path

    @classmethod
    def from_arguments(
        cls, url: str | None, username: str | None, password: str | None, state_dir: Path | None
    ) -> Self:
        """Fill in what is None: PRN_REDIS_URL, PRN_REDIS_PASSWORD, PRN_STATE_DIR, the defaults."""
        url = os.environ.get("PRN_REDIS_URL", "") if url is None else url
        password = os.environ.get(PASSWORD_VARIABLE) if password is None else password
        folder = state_dir or Path(os.environ.get("PRN_STATE_DIR") or default_state())
        return cls(Access(url, username, password), folder)

    def connect(self) -> AbstractContextManager[RedisConnection]:
        """Open the Redis for the time of the context; raises what `open_connection` raises."""
        return open_connection(self.access, self.state_dir)


class LineSettings(CommandSettings):
    """Which line, and where its Redis is."""

    line: Name = Field(default="line-1", description="the line's name")
    redis_url: Annotated[str, Metavar("URL")] = Field(
        default="",
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
        "default: the embedded server. A password belongs into PRN_REDIS_PASSWORD",
    )
    redis_username: Name | None = Field(default=None, description="ACL user")
    redis_password_file: File | None = Field(
        default=None, description="file whose first line is the password"
    )
    state_dir: Folder = Field(
        default_factory=default_state, description="where the embedded Redis keeps its data"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least that is logged"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON lines elsewhere"
    )

    @field_validator("line")
    @classmethod
    def _check_line(cls, line: str) -> str:
        try:
            return check_name(line)
        except SettingsError as error:
            raise ValueError(str(error)) from error

    def access(self) -> Access:
        """Where Redis is and who asks; the password from its variable or its file.

        Raises:
            SettingsError: a password on the command line, where every user can read it, or none in
                its file.
        """
        if any(_URL_WITH_PASSWORD.search(word) for word in sys.argv):
            raise SettingsError(
                f"a password on the command line can be read by every user: set {PASSWORD_VARIABLE}"
                " or --redis-password-file"
            )
        path = self.redis_password_file
        if path is None:
            password = os.environ.get(PASSWORD_VARIABLE)
            return Access(self.redis_url, self.redis_username, password)
        check_password_file(path)
        return Access(self.redis_url, self.redis_username, password_file=path)

    def connect(self) -> AbstractContextManager[RedisConnection]:
        """Open the line's Redis for the time of the context."""
        return open_connection(self.access(), self.state_dir)


class WaitingSettings(LineSettings):
    """Which line, where its Redis is, and how long to wait for that at the start."""

    redis_wait_s: float | None = Field(
        default=None,
        ge=0,
        description="end with an error where Redis does not answer for so many seconds at the "
        "start; default: wait until it does",
    )

    def connect(self) -> AbstractContextManager[RedisConnection]:
        """Open the line's Redis for the time of the context, once it answers."""
        wait_s = math.inf if self.redis_wait_s is None else self.redis_wait_s
        return open_connection(self.access(), self.state_dir, wait_s)


class WatchingSettings(WaitingSettings):
    """The same, for a program that remembers what Redis told it."""

    books: File | None = Field(
        default=None,
        description="remember in this file how far the line had come, and say if Redis is behind "
        "it after a restart; one file for each program",
    )
