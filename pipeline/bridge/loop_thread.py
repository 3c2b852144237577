"""An asyncio loop in a thread of its own, for the libraries that need one."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from pipeline.errors import SettingsError

_WAIT_S = 60.0


class LoopThread:
    """Runs coroutines for other threads. Used once: `listen`, then `stop`."""

    def __init__(self, name: str) -> None:
        """Prepare; nothing runs before `listen`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def listen(self, listening: Coroutine[Any, Any, None], address: tuple[str, int]) -> None:
        """Start, and wait until a server listens at an address.

        Raises:
            SettingsError: nothing can listen there.
        """
        self._thread.start()
        try:
            self.wait_for(listening)
        except OSError as error:
            host, port = address
            raise SettingsError(
                f"cannot listen on --listen {host}:{port}: the address is not of this machine, or "
                "the port is in use or needs rights (below 1024)"
            ) from error

    def wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end; raises what it raises."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_WAIT_S)

    def alive(self) -> bool:
        """Return whether the loop runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the loop and its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
