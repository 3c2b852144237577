"""The Lua scripts of a line, loaded from `lua/`."""

import hashlib
import logging
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import redis

from pipeline.streams.connect import translated
from pipeline.streams.keys import WHY_DAMAGED

Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)
_INCLUDE = re.compile(r"^--include (\w+)$", re.MULTILINE)


@cache
def _source(name: str) -> str:
    """Read a script; a line `--include NAME` stands for the whole of that file."""
    text = files("pipeline.streams").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return _INCLUDE.sub(lambda found: _source(found[1]), text)


class Script:
    """One script on one server; sent whole only when the server does not have it yet."""

    def __init__(self, call: Callable[..., Any], name: str) -> None:
        """Take what sends a command and returns its answer, and the script's file name."""
        self._call = call
        self._source = _source(name)
        self._sha1 = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401
        """Run it.

        Raises:
            ConnectionLost: no answer; the script may or may not have run.
            RedisFull: out of memory; the script has not run.
        """
        with translated():
            try:
                return self._call("EVALSHA", self._sha1, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return self._call("EVAL", self._source, len(keys), *keys, *arguments)


def with_sound_key(
    call: Callable[..., Any], key: str, kind: str, action: Callable[[], Reply]
) -> Reply:
    """Run plain commands on a key; if it is of another kind, put it aside and run them again.

    Scripts do so by themselves (`lua/mend.lua`).

    Args:
        call: sends a command and returns its answer.
        key: of a line.
        kind: the type of Redis that it must be of.
        action: raises redis-py's errors.
    """
    try:
        return action()
    except redis.ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
    if Script(call, "set_aside")([key], [kind]):
        _log.error("books.damaged", extra={"key": f"{key}:damaged", "why": WHY_DAMAGED})
    return action()
