"""Modbus TCP by pymodbus, whose interfaces change between its minor versions: all of it is here.

Plain text without authentication: whoever reaches the port can read and acknowledge.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Protocol

from pipeline.bridge.loop_thread import LoopThread
from pipeline.errors import BridgeFailed, SettingsError

try:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.constants import ExcCodes
    from pymodbus.exceptions import ModbusException
    from pymodbus.server import ModbusTcpServer
    from pymodbus.server.requesthandler import ServerRequestHandler
    from pymodbus.simulator import DataType, SimData, SimDevice
except ImportError as error:
    raise SettingsError(
        "Modbus needs the package pymodbus: pip install 'prn-line[modbus]'"
    ) from error

MOST_CONNECTIONS = 16
_READS = (3, 4, 6, 16, 22, 23)  # function codes whose answer reads holding or input registers
_WRITES = (6, 16, 22, 23)
_log = logging.getLogger(__name__)
Network = IPv4Network | IPv6Network


class Registers(Protocol):
    """What a server serves; called from its thread."""

    def read(self, first: int, count: int) -> list[int] | None:
        """Return registers at one moment; None where some do not exist."""
        ...

    def write(self, first: int, values: list[int]) -> bool:
        """Write registers; return whether that is allowed."""
        ...


class _Connection(ServerRequestHandler):
    """A client, if its address is allowed and there are not too many."""

    server: "_Server"

    def callback_connected(self) -> None:
        """Close what may not connect."""
        super().callback_connected()
        peer = self.transport.get_extra_info("peername") or ("", 0)
        if why := self.server.refusal(str(peer[0])):
            _log.warning("modbus.refused", extra={"client": str(peer[0]), "why": why})
            self.close()


class _Server(ModbusTcpServer):
    """A server that some networks may reach."""

    def __init__(
        self, device: SimDevice, address: tuple[str, int], allowed: Sequence[Network]
    ) -> None:
        self._allowed = allowed
        super().__init__(device, address=address)

    def callback_new_connection(self) -> _Connection:
        """Return what answers a client."""
        traces = (self.trace_packet, self.trace_pdu, self.trace_connect)
        return _Connection(self, *traces)  # type: ignore[no-untyped-call]

    def refusal(self, peer: str) -> str:
        """Return why a client may not connect, or nothing."""
        if len(self.active_connections) > MOST_CONNECTIONS:
            return f"more than {MOST_CONNECTIONS} connections"
        return "" if is_allowed(peer, self._allowed) else "not in --allow"


def is_allowed(peer: str, allowed: Sequence[Network]) -> bool:
    """Return whether an address is of this machine or of an allowed network."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or any(mapped in network for network in allowed)


class ModbusServer:
    """Serves registers from a thread of its own."""

    def __init__(
        self, registers: Registers, address: tuple[str, int], allowed: Sequence[Network], size: int
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            registers: what is served, to every unit id alike.
            address: host and port; port 0 takes a free one.
            allowed: networks beside this machine that may connect.
            size: number of registers, from 0.
        """
        self._registers = registers
        self._address = address
        self._allowed = allowed
        self._size = size
        self._loop = LoopThread("modbus")
        self._server: _Server | None = None
        self.port = 0

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: nothing can listen there.
        """
        try:
            self._loop.listen(self._listen(), self._address)
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Return whether it still serves."""
        return self._loop.alive() and self._server is not None

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop.alive() and self._server is not None:
            shutdown: Any = self._server.shutdown
            self._loop.wait_for(shutdown())
        self._server = None
        self._loop.stop()

    async def _listen(self) -> None:
        memory = SimData(0, count=self._size, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(id=0, simdata=[memory], action=self._on_access)
        server = _Server(device, self._address, self._allowed)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:  # so pymodbus says that it cannot listen
            raise OSError(str(error)) from error
        self._server = server
        listening: Any = server.transport  # of asyncio: a Server, whatever its annotation
        self.port = listening.sockets[0].getsockname()[1]

    async def _on_access(
        self,
        function: int,
        start: int,
        first: int,
        count: int,
        memory: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Answer one access: the registers are taken or changed at one moment."""
        del start
        if values is not None:
            if function not in _WRITES:
                return ExcCodes.ILLEGAL_FUNCTION
            allowed = self._registers.write(first, [int(value) for value in values])
            return None if allowed else ExcCodes.ILLEGAL_ADDRESS
        if function not in _READS:
            return ExcCodes.ILLEGAL_FUNCTION
        registers = self._registers.read(first, count)
        if registers is None:
            return ExcCodes.ILLEGAL_ADDRESS
        memory[first : first + count] = registers
        return None


class ModbusClient:
    """Reads and writes registers of a server, as a PLC does."""

    def __init__(self, host: str, port: int, timeout_s: float = 1.0) -> None:
        self._client = ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)

    def read(self, first: int, count: int) -> list[int]:
        """Return holding registers.

        Raises:
            BridgeFailed: no answer, or a refusal.
        """
        return list(self._ask(self._client.read_holding_registers, first, count=count).registers)

    def write(self, first: int, values: list[int]) -> None:
        """Write holding registers.

        Raises:
            BridgeFailed: no answer, or a refusal.
        """
        self._ask(self._client.write_registers, first, values)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        try:
            if not self._client.connected and not self._client.connect():
                raise BridgeFailed("the bridge does not answer")
            answer = call(*arguments, **named)
        except (ModbusException, OSError) as error:
            self._client.close()
            raise BridgeFailed(f"the bridge does not answer: {error}") from error
        if answer.isError():
            raise BridgeFailed(f"the bridge refuses with exception {answer.exception_code}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def modbus_client(host: str, port: int) -> Iterator[ModbusClient]:
    """Open a client for the time of the context."""
    client = ModbusClient(host, port)
    try:
        yield client
    finally:
        client.close()
