import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asyncua import Client as OpcuaClient
from asyncua import ua
from asyncua.crypto.security_policies import (
    SecurityPolicyBasic256Sha256,
)
from rigs.line import Plant
from rigs.opcua import PASSWORD, USER, Identity, identity, opcua_bridge, trust
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.opcua.security import SecurityFolder
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys

Tags = dict[str, Any]
T = TypeVar("T")
NAMESPACE = 2


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "opcua"


@pytest.fixture
def plc(folder: Path, tmp_path: Path) -> Identity:
    made = identity(tmp_path, "plc")
    trust(SecurityFolder(folder), made)
    return made


async def opened(
    url: str,
    who: Identity,
    *,
    policy: type = SecurityPolicyBasic256Sha256,
    password: str = PASSWORD,
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt,
) -> OpcuaClient:
    plc = OpcuaClient(url)
    plc.application_uri = who.uri
    plc.set_user(USER)
    plc.set_password(password)
    await plc.set_security(policy, str(who.certificate), str(who.key), mode=mode)
    await plc.connect()
    return plc


class Plc:
    """A client of asyncua whose calls wait; its loop runs in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.client: OpcuaClient

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def node_ids(self, names: tuple[str, ...], camera: str = "cam") -> list[ua.NodeId]:
        return [ua.NodeId(f"Live/{camera}/{name}", NAMESPACE) for name in names]

    def data(self, *names: str, camera: str = "cam") -> list[ua.DataValue]:
        return self.run(self._data(self.node_ids(names, camera)))

    async def _data(self, node_ids: list[ua.NodeId]) -> list[ua.DataValue]:
        nodes = [self.client.get_node(node_id) for node_id in node_ids]
        return await self.client.read_attributes(nodes)

    def read(self, *names: str, camera: str = "cam") -> Tags:
        """Return tags of one request."""
        data = self.data(*names, camera=camera)
        return {
            name: each.Value.Value if each.StatusCode.is_good() else each.StatusCode.name
            for name, each in zip(names, data, strict=True)
        }

    def write(self, camera: str = "cam", **values: ua.Variant) -> list[str]:
        """Write tags in one request; returns the names of the answers."""
        request = ua.WriteParameters()
        for name, value in values.items():
            write = ua.WriteValue()
            [write.NodeId] = self.node_ids((name,), camera)
            write.AttributeId = ua.AttributeIds.Value
            write.Value = ua.DataValue(value)
            request.NodesToWrite.append(write)
        return [each.name for each in self.run(self.client.uaclient.write(request))]

    def acknowledge(self, trigger_id: int, epoch: int = 1) -> list[str]:
        wide, narrow = ua.VariantType.UInt32, ua.VariantType.UInt16
        return self.write(
            AckTriggerId=ua.Variant(trigger_id, wide), AckEpoch=ua.Variant(epoch, narrow)
        )


@contextmanager
def connected(url: str, who: Identity, **how: Any) -> Iterator[Plc]:
    plc = Plc()
    try:
        plc.client = plc.run(opened(url, who, **how))
        try:
            yield plc
        finally:
            plc.run(plc.client.disconnect())
    finally:
        plc.loop.call_soon_threadsafe(plc.loop.stop)
        plc.thread.join()
        plc.loop.close()


def unacknowledged(plant: Plant) -> int:
    return int(plant.client.xpending(Keys(plant.name).results, "bridge")["pending"])


SLOTS = tuple(f"Slot{at}_{name}" for at in range(8) for name in ("TriggerId", "Code", "Reason"))


def test_verdicts_are_shown_in_their_slots_and_acknowledged_after_the_echo(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    with opcua_bridge(plant, url, folder) as (running, at), connected(at, plc) as client:
        plant.offer(9, 10, 11)
        plant.judge(Decision.OK, count=1)
        plant.judge(Decision.NG, count=1)
        plant.judge(Reason.ENGINE)
        wait_until(lambda: client.read("TriggerId")["TriggerId"] == 11)
        shown = client.read(*SLOTS, "Slot1_PartId", "Slot1_Score", "Slot1_MsLeft", "Code", "Reason")
        assert [shown[f"Slot{at}_TriggerId"] for at in (1, 2, 3)] == [9, 10, 11]
        assert [shown[f"Slot{at}_Code"] for at in range(8)] == [0, 1, 2, 3, 0, 0, 0, 0]
        assert (shown["Slot3_Reason"], shown["Code"], shown["Reason"]) == (4, 3, 4)
        assert shown["Slot1_PartId"] == "part-9"
        assert shown["Slot1_Score"] == pytest.approx(0.6)
        assert 0 < shown["Slot1_MsLeft"] <= 32_767
        assert client.read("CountOk", "CountNg", "CountUnknown", "Toggle", "Epoch") == {
            "CountOk": 1, "CountNg": 1, "CountUnknown": 1, "Toggle": True, "Epoch": 1,
        }  # fmt: skip
        assert unacknowledged(plant) == 3
        assert client.acknowledge(10) == ["Good", "Good"]
        wait_until(lambda: unacknowledged(plant) == 1)
        client.acknowledge(11)
        wait_until(lambda: unacknowledged(plant) == 0)
        assert running.figures.of(Outcome.DELIVERED) == [9, 10, 11]


def test_verdict_turns_unknown_in_its_slot_at_its_deadline(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    names = ("Slot1_Code", "Slot1_Reason", "Slot1_MsLeft", "Code", "TriggerId")
    with (
        opcua_bridge(plant, url, folder, margin_ms=30) as (running, at),
        connected(at, plc) as client,
    ):
        plant.offer(1, in_ns=1_500_000_000)
        plant.judge(Decision.OK)
        wait_until(lambda: client.read("TriggerId")["TriggerId"] == 1)
        seen = []
        while (shown := client.read(*names))["Slot1_Code"] == 1:
            seen.append(shown["Slot1_MsLeft"])
        assert all(left > 0 for left in seen)
        assert (shown["Slot1_Code"], shown["Slot1_Reason"], shown["Code"]) == (3, 6, 3)
        wait_until(lambda: bool(running.figures.outcomes))
        wait_until(lambda: unacknowledged(plant) == 0)
