"""`pipeline-fake-plc`: a reject gate that polls a bridge, and the count of what it did wrong."""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from engines.commandline.flags import Metavar
from engines.commandline.run import CommandSettings
from pipeline.bridge.modbus.layout import MOST_CAMERAS, WordOrder
from pipeline.bridge.report import Code
from pipeline.bridge.settings import host_and_port
from pipeline.errors import BrokenPromise, SettingsError
from pipeline.fake_plant.conveyor import Conveyor, Trigger

_LONGEST_LINE = 10_000


class FakePlcSettings(CommandSettings):
    """Play the PLC of a reject gate against a bridge: triggers come as JSON lines on stdin.

    A line: {"trigger_id": 7, "truth": "OK", "part_id": "part-7", "deadline_ms": 400}; the part is
    triggered when its line is read. At the end one JSON object is printed; status 1 where the gate
    did anything wrong.
    """

    to: Literal["modbus"] = Field(default="modbus", description="how the bridge is read")
    connect: Annotated[str, Metavar("HOST:PORT")] = Field(
        default="127.0.0.1:5020", description="where the bridge listens"
    )
    block: int = Field(
        default=0, ge=0, lt=MOST_CAMERAS, description="the camera's place in --cameras, from 0"
    )
    word_order: WordOrder = Field(default=WordOrder.ABCD, description="as the bridge has it")
    poll_ms: float = Field(default=10.0, gt=0, description="between two reads of the bridge")
    travel_ms: float = Field(default=500.0, gt=0, description="from the camera to the gate")

    @field_validator("connect")
    @classmethod
    def _check_connect(cls, connect: str) -> str:
        host_and_port(connect)
        return connect


def read_trigger(line: str) -> Trigger:
    """Return the trigger that a JSON line describes.

    Raises:
        SettingsError: it is none.
    """
    try:
        fields = json.loads(line[:_LONGEST_LINE])
        truth = Code[fields["truth"]]
        part_id, deadline_ms = str(fields["part_id"]), float(fields["deadline_ms"])
        return Trigger(int(fields["trigger_id"]), truth, part_id, deadline_ms)
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{line!r:.200} is no trigger: {error!r}") from error


def run(settings: FakePlcSettings) -> int:
    """Play the PLC until stdin ends and the belt is empty.

    Raises:
        BrokenPromise: the gate did something wrong.
    """
    from pipeline.bridge.modbus.tcp import modbus_client  # noqa: PLC0415  # needs its extra
    from pipeline.fake_plant.modbus_plc import ModbusPlc  # noqa: PLC0415

    conveyor = Conveyor(settings.travel_ms)
    lines = _read_behind(sys.stdin)
    with modbus_client(*host_and_port(settings.connect)) as client:
        plc = ModbusPlc(client, settings.block, settings.word_order)
        more = True
        while more or conveyor.gate.on_belt:
            more = _take_triggers(lines, conveyor) and more
            asked_s = time.monotonic()
            conveyor.scan(plc.read(), asked_s * 1e3)
            plc.write(conveyor.gate)
            time.sleep(max(0.0, asked_s + settings.poll_ms / 1e3 - time.monotonic()))
    sys.stdout.write(json.dumps(conveyor.tally.as_fields()) + "\n")
    if conveyor.tally.wrong:
        raise BrokenPromise(f"{conveyor.tally.wrong} wrong actuations")
    return 0


def _read_behind(lines: Iterable[str]) -> "queue.SimpleQueue[str | None]":
    """Return a queue of the lines, and None behind the last."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, name="triggers", daemon=True).start()
    return waiting


def _take_triggers(lines: "queue.SimpleQueue[str | None]", conveyor: Conveyor) -> bool:
    """Trigger every part whose line has come; return whether more may come."""
    while not lines.empty():
        line = lines.get()
        if line is None:
            return False
        if line.strip():
            conveyor.trigger(read_trigger(line), time.monotonic() * 1e3)
    return True
