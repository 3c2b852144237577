"""What the pump asks of every target: a PLC's registers, an MES, a broker."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.bridge.report import VerdictReport


class Outcome(StrEnum):
    """What became of a report. All but PENDING settle it: Redis is acknowledged."""

    PENDING = "pending"  # not known yet: `settled` returns it later
    DELIVERED = "delivered"  # the receiver confirmed it: PLC's echo, PUBACK, 2xx
    UNCONFIRMED = "unconfirmed"  # a gate read it, and did not confirm it before the deadline
    UNDELIVERED = "undelivered"  # a gate did not read it before the deadline
    STALE = "stale"  # it came to a gate's bridge without time left, and was never shown
    PARKED = "parked"  # the receiver refuses it for good: kept for a person
    HOMELESS = "homeless"  # no camera of this bridge: it cannot be shown


@dataclass(frozen=True, slots=True)
class BridgeState:
    """What a receiver is shown of line and bridge, about every 100 ms."""

    heartbeat: int = 0  # 0..65535; stands still while the line cannot answer
    ready: bool = False  # Redis answers, a worker beats, the line is not paused
    paused: bool = False
    degraded: bool = False  # a worker is missing or misfit, or verdicts were missed
    error: str = ""  # why the heartbeat stands still
    error_code: int = 0  # the same as a number, see `watchdog.ErrorCode`
    missed: int = 0  # verdicts dropped before this bridge could read them
    stopped: tuple[str, ...] = ()  # cameras with too many NG: the plant should stop


@dataclass(frozen=True, slots=True)
class PlcRequest:
    """What a receiver asks of the bridge."""

    camera: str
    clear_stop: bool = False


class Face(Protocol):
    """One target. `deliver`, `show` and `settled` are called from one thread and never wait."""

    gate: bool  # only reports with time left are delivered; the others go to `skip`
    most_pending: int  # so many reports may be pending: then the pump waits

    def start(self) -> None:
        """Listen or connect; a receiver that is away is no error.

        Raises:
            SettingsError: it can never work as it is set.
        """
        ...

    def show(self, state: BridgeState) -> None:
        """Show the state of line and bridge."""
        ...

    def deliver(self, report: VerdictReport) -> Outcome:
        """Hand over one report; `historical` ones come to records only."""
        ...

    def skip(self, report: VerdictReport) -> None:
        """Count a report that came without time left; only gates are asked."""
        ...

    def settled(self) -> Iterable[tuple[str, Outcome]]:
        """Return the result ids of pending reports that are settled now, each once."""
        ...

    def requests(self) -> Iterable[PlcRequest]:
        """Return what the receiver asked since the last call."""
        ...

    def failure(self) -> str:
        """Return why this face can no longer work, or nothing."""
        ...

    def stop(self) -> None:
        """Release everything; what is pending stays unacknowledged and comes again."""
        ...
