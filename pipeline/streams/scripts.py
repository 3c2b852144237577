"""The Lua scripts of a line, loaded from `lua/`."""

from functools import cache
from importlib.resources import files
from typing import Any

from pipeline.streams.connect import Client, translated


@cache
def _source(name: str) -> str:
    return files("pipeline.streams").joinpath("lua", f"{name}.lua").read_text("utf-8")


class Script:
    """One script on one server; sent whole only when the server does not have it yet."""

    def __init__(self, client: Client, name: str) -> None:
        self._call = client.register_script(_source(name))

    def __call__(self, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401
        """Run it.

        Raises:
            ConnectionLost: no answer; the script may or may not have run.
            RedisFull: out of memory; the script has not run.
        """
        with translated():
            return self._call(keys=keys, args=arguments)
