"""Settings that every command of a line shares."""

import math
import os
import re
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self, TypedDict

from pydantic import Field, field_validator

from engines.commandline.flags import File, Folder, Metavar, Name
from engines.commandline.run import CommandSettings
from pipeline.errors import SettingsError
from pipeline.streams.address import check_password_file, user_of
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
    wait_s: float = 0.0

    @classmethod
    def from_arguments(cls, given: "RedisArguments") -> Self:
        """Fill in from the environment what was not given.

        Raises:
            SettingsError: as `LineSettings.access`, for a password file.
        """
        environment = os.environ
        url = given.get("redis_url")
        url = environment.get("PRN_REDIS_URL", "") if url is None else url
        username = given.get("username") or environment.get("PRN_REDIS_USERNAME")
        folder = given.get("state_dir") or environment.get("PRN_STATE_DIR") or default_state()
        wait_s = given.get("redis_wait_s")
        if wait_s is None:
            wait_s = float(environment.get("PRN_REDIS_WAIT_S") or math.inf)
        return cls(_with_password(Access(url, username), given), Path(folder), wait_s)

    def connect(self) -> AbstractContextManager[RedisConnection]:
        """Open the Redis for the time of the context; raises what `open_connection` raises."""
        return open_connection(self.access, self.state_dir, self.wait_s)


class RedisArguments(TypedDict, total=False):
    """Where a program's Redis is, and who asks. What is left out, or None, is as the flags have it.

    redis_url: as `--redis-url`; else PRN_REDIS_URL. Empty: the embedded server.
    username: ACL user; else PRN_REDIS_USERNAME.
    password: else that of `password_file`, then PRN_REDIS_PASSWORD.
    password_file: its first line is the password, read again at every connection; else
        PRN_REDIS_PASSWORD_FILE.
    state_dir: of the embedded server; else PRN_STATE_DIR, then its default.
    redis_wait_s: how long to wait at the start for a Redis that does not answer, seconds; else
        PRN_REDIS_WAIT_S, then until it does.
    """

    redis_url: str | None
    username: str | None
    password: str | None
    password_file: Path | None
    state_dir: Path | None
    redis_wait_s: float | None


def _with_password(access: Access, given: RedisArguments) -> Access:
    """Add the password: of the call, else of a file, else of the environment."""
    if (password := given.get("password")) is not None:
        return replace(access, password=password, source="the argument `password`")
    path = given.get("password_file")
    if path is None and user_of(access.url)[1]:
        return access
    if path is None and (name := os.environ.get("PRN_REDIS_PASSWORD_FILE")):
        path = Path(name)
    if path is not None:
        check_password_file(path)
        return replace(access, password_file=path)
    return replace(access, password=os.environ.get(PASSWORD_VARIABLE))


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
