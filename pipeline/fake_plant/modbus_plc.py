"""The Modbus side of the fake PLC: reads a camera's block, writes acknowledgement and heartbeat."""

from pipeline.bridge.modbus.layout import (
    CAMERA_STRIDE,
    DETAIL_START,
    PATTERN,
    PLC_START,
    READ_REGISTERS,
    Value,
    WordOrder,
    decode,
    decode_words,
    encode_words,
    slot_name,
)
from pipeline.bridge.modbus.tcp import ModbusClient
from pipeline.bridge.slots import SLOTS
from pipeline.errors import BridgeFailed, SettingsError
from pipeline.fake_plant.reject_gate import BridgeImage, RejectGate, SlotImage

_BEATS = 1 << 16


class ModbusPlc:
    """Polls one camera's block."""

    def __init__(self, client: ModbusClient, block: int, order: WordOrder) -> None:
        """Borrow a client.

        Args:
            client: of the bridge.
            block: the camera's place in the bridge's --cameras, from 0.
            order: of the words of 32-bit values.
        """
        self._client = client
        self._start = block * CAMERA_STRIDE
        self._order = order
        self._beat = 0
        self._checked = False

    def read(self) -> BridgeImage | None:
        """Read the block once; None without an answer.

        Raises:
            SettingsError: the word order is not the bridge's.
        """
        try:
            self._check_order()
            registers = self._client.read(self._start, READ_REGISTERS)
        except BridgeFailed:
            self._checked = False
            return None
        return image_of(decode(registers, self._order))

    def write(self, gate: RejectGate) -> None:
        """Acknowledge what the gate has read, and beat; nothing happens without an answer."""
        self._beat = (self._beat + 1) % _BEATS
        ack = encode_words(gate.ack, self._order) if gate.has_read else [0, 0]
        epoch = gate.epoch if gate.has_read else 0
        try:
            self._client.write(self._start + PLC_START, [*ack, epoch, self._beat])
        except BridgeFailed:
            self._checked = False

    def _check_order(self) -> None:
        if self._checked:
            return
        words = self._client.read(self._start + DETAIL_START, 2)
        if decode_words(words, self._order) != PATTERN:
            raise SettingsError(
                f"the pattern registers read {words}: --word-order is not the bridge's"
            )
        self._checked = True


def image_of(values: dict[str, Value]) -> BridgeImage:
    """Return what the PLC program works on."""

    def number(at: int, name: str) -> int:
        return int(values[slot_name(at, name)])

    slots = [
        SlotImage(
            number(at, "trigger_id"),
            number(at, "code") & 0xFF,
            number(at, "ms_left"),
            str(values[slot_name(at, "part_id")]),
        )
        for at in range(SLOTS)
    ]
    return BridgeImage(int(values["heartbeat"]), int(values["epoch"]), slots)
