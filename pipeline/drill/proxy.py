"""A TCP proxy before a server's Unix socket that delays, cuts, or swallows what passes."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 16
_START_WAIT_S = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, as a cable that is pulled
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FaultyProxy:
    """Passes bytes between clients and the server until it is told to do worse."""

    def __init__(self, target: Path) -> None:
        """Name the Unix socket of the server; it may come and go."""
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: set[_Link] = set()
        self.delay_s = 0.0  # that every chunk waits, either way

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> int:
        """Reset every connection; returns how many there were."""
        return self._on_every_link(_Link.reset)

    def swallow(self) -> int:
        """Leave every connection half open: what is sent on it is lost.

        New connections pass. Returns how many there were.
        """
        return self._on_every_link(_Link.swallow)

    def _on_every_link(self, act: Any) -> int:  # noqa: ANN401  # a method of _Link
        links = list(self._links)
        for link in links:
            self._loop.call_soon_threadsafe(act, link)
        return len(links)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve in a thread while the context lasts."""
        started = threading.Event()
        thread = threading.Thread(
            target=self._loop.run_until_complete,
            args=(self._serve(started),),
            name="proxy",
            daemon=True,
        )
        thread.start()
        started.wait(_START_WAIT_S)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join(_START_WAIT_S)
            self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._listener)
        started.set()
        await self._over.wait()
        server.close()
        for link in list(self._links):
            link.reset()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            writer.close()  # the server is away
            return
        link = _Link((reader, writer), server)
        self._links.add(link)
        try:
            await link.passing(self)
        finally:
            self._links.discard(link)


class _Link:
    """One client's connection and ours to the server."""

    def __init__(self, client: _Streams, server: _Streams) -> None:
        self._client, self._server = client, server
        self._swallowed = False

    async def passing(self, proxy: FaultyProxy) -> None:
        """Pass bytes both ways until one side ends."""
        both: list[Coroutine[Any, Any, None]] = [
            self._pump(self._client[0], self._server[1], proxy),
            self._pump(self._server[0], self._client[1], proxy),
        ]
        tasks = [asyncio.ensure_future(pump) for pump in both]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for _, writer in (self._client, self._server):
                writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: FaultyProxy
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if proxy.delay_s:
                    await asyncio.sleep(proxy.delay_s)
                if self._swallowed:
                    continue
                writer.write(chunk)
                await writer.drain()

    def swallow(self) -> None:
        """Drop whatever comes from now on; neither side hears of it."""
        self._swallowed = True

    def reset(self) -> None:
        """Reset both connections."""
        for _, writer in (self._client, self._server):
            opened = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if opened is not None and opened.family != socket.AF_UNIX:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
