import asyncio
import select
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asyncua import Client as OpcuaClient
from asyncua import ua
from asyncua.client.ua_client import UaClient
from asyncua.crypto.security_policies import (
    SecurityPolicyBasic256Sha256,
)
from rigs.line import Plant
from rigs.opcua import PASSWORD, USER, Identity, identity, opcua_bridge, trust
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.opcua.security import SecurityFolder
from pipeline.bridge.opcua.server import MOST_CONNECTIONS
from pipeline.bridge.opcua.tags import TAGS
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
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


async def opened(url: str, who: Identity) -> OpcuaClient:
    plc = OpcuaClient(url)
    plc.application_uri = who.uri
    plc.set_user(USER)
    plc.set_password(PASSWORD)
    await plc.set_security(SecurityPolicyBasic256Sha256, str(who.certificate), str(who.key))
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
def connected(url: str, who: Identity) -> Iterator[Plc]:
    plc = Plc()
    try:
        plc.client = plc.run(opened(url, who))
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


def test_tags_are_bad_while_redis_is_away_and_good_after(
    tmp_path: Path, folder: Path, plc: Identity
) -> None:
    server, data = find_server(), tmp_path / "redis"
    data.mkdir()
    with embedded_url(data, server=server) as url:
        redis = open_client(Access(url))
        plant = Plant(redis, "line")
        with opcua_bridge(plant, url, folder) as (running, at), connected(at, plc) as client:
            plant.offer(1)
            plant.judge(Decision.OK)
            shown = {"Slot1_TriggerId": 1, "Slot1_Code": 1}
            wait_until(lambda: client.read(*shown) == shown)
            names = tuple(tag.name for tag in TAGS if not tag.writable)
            stop(data)
            wait_until(lambda: client.read("Code")["Code"] == "BadNoCommunication")
            assert set(client.read(*names).values()) == {"BadNoCommunication"}
            assert all(each.Value.Value is None for each in client.data(*names))
            client.acknowledge(1)
            revive(data, server=server)
            wait_until(lambda: client.read("Ready")["Ready"] is True)
            wait_until(lambda: running.figures.of(Outcome.DELIVERED) == [1])
        redis.close()


def test_session_that_names_no_certificate_is_judged_by_that_of_its_connection(
    plant: Plant, url: str, folder: Path, plc: Identity, tmp_path: Path
) -> None:
    stranger = identity(tmp_path, "stranger")

    class Silent(UaClient):
        async def create_session(self, parameters: Any) -> Any:  # noqa: ANN401
            parameters.ClientCertificate = self.named
            return await super().create_session(parameters)

    async def sneak(at: str, named: bytes | None) -> None:
        client = OpcuaClient(at)
        client.application_uri = plc.uri
        client.set_user(USER)
        client.set_password(PASSWORD)
        client.uaclient.__class__ = Silent
        client.uaclient.named = named  # type: ignore[attr-defined]
        await client.set_security(
            SecurityPolicyBasic256Sha256, str(stranger.certificate), str(stranger.key)
        )
        async with client:
            pass

    with opcua_bridge(plant, url, folder) as (_, at):
        for named in (None, plc.certificate.read_bytes()):
            with pytest.raises(ua.UaStatusCodeError, match=r"BadCertificateUntrusted|not trusted"):
                asyncio.run(sneak(at, named))


@pytest.mark.parametrize(
    "value",
    [
        ua.Variant([1, 2], ua.VariantType.UInt32),
        ua.Variant(1, ua.VariantType.UInt16),
        ua.Variant(None, ua.VariantType.Null),
        ua.Variant("1", ua.VariantType.String),
    ],
)
def test_write_of_another_type_is_refused_and_acknowledges_nothing(
    plant: Plant, url: str, folder: Path, plc: Identity, value: ua.Variant
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at), connected(at, plc) as client:
        plant.offer(1)
        plant.judge(Decision.OK)
        wait_until(lambda: client.read("TriggerId", "Code")["TriggerId"] == 1)
        with pytest.raises(ua.UaStatusCodeError):
            client.write(AckEpoch=ua.Variant(1, ua.VariantType.UInt16), AckTriggerId=value)
        assert client.read("AckTriggerId", "AckEpoch") == {"AckTriggerId": 0, "AckEpoch": 0}
        assert unacknowledged(plant) == 1


def test_acknowledgement_of_what_was_never_read_acknowledges_nothing(
    plant: Plant, url: str, folder: Path, plc: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    with opcua_bridge(plant, url, folder) as (running, at), connected(at, plc) as client:
        plant.offer(4, 5)
        plant.judge(Decision.OK)
        wait_until(lambda: client.read("TriggerId")["TriggerId"] == 5)  # without its code
        client.acknowledge(5)
        client.read("Slot4_TriggerId", "Slot4_Code")
        client.acknowledge(5, epoch=9)
        client.acknowledge(4)
        wait_until(lambda: unacknowledged(plant) == 1)
        client.read("Slot5_TriggerId", "Slot5_Code")
        client.acknowledge(5)
        wait_until(lambda: running.figures.of(Outcome.DELIVERED) == [4, 5])
    assert "plc.ack_ignored" in caplog.messages


def test_command_is_echoed_and_carried_out_once(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at), connected(at, plc) as client:
        wait_until(lambda: client.read("Ready")["Ready"] is True)
        for command, result in ((1, 1), (0, 0), (99, 2)):
            client.write(Command=ua.Variant(command, ua.VariantType.UInt16))
            shown = client.read("CommandEcho", "CommandResult")
            assert shown == {"CommandEcho": command, "CommandResult": result}


def test_each_camera_has_an_object_of_its_own(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at), connected(at, plc) as client:
        plant.offer(3, camera="side")
        plant.judge(Decision.NG)
        wait_until(lambda: client.read("CountNg", camera="side")["CountNg"] == 1)
        assert client.read("CountNg")["CountNg"] == 0


def test_connections_beyond_the_limit_are_closed_and_the_others_served(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    with (
        opcua_bridge(plant, url, folder) as (running, at),
        connected(at, plc) as client,
        ExitStack() as opened_sockets,
    ):
        port = int(at.rpartition(":")[2])
        sockets = [
            opened_sockets.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            for _ in range(MOST_CONNECTIONS)
        ]
        readable, _, _ = select.select(sockets, [], [], 10)
        assert [each.recv(1) for each in readable] == [b""]
        wait_until(lambda: client.read("Ready")["Ready"] is True)
        assert running.face.failure() == ""


def test_message_without_end_is_cut_off(
    plant: Plant, url: str, folder: Path, plc: Identity
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at), connected(at, plc) as client:
        port = int(at.rpartition(":")[2])
        wait_until(lambda: client.read("Ready")["Ready"] is True)
        with socket.create_connection(("127.0.0.1", port), 30) as stranger:
            stranger.sendall(b"MSGF" + (1 << 31).to_bytes(4, "little"))
            with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe
                stranger.sendall(bytes(64 << 20))
        assert client.read("Ready")["Ready"] is True


def test_without_encryption_only_where_that_is_asked_for_and_with_a_password_all_the_same(
    plant: Plant, url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(at: str, password: str) -> None:
        client = OpcuaClient(at)
        client.set_user(USER)
        client.set_password(password)
        async with client:
            pass

    with opcua_bridge(plant, url, folder, insecure=True) as (_, at):
        asyncio.run(visit(at, PASSWORD))
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            asyncio.run(visit(at, "guess"))
    assert "opcua.insecure" in caplog.messages
    assert "opcua.nobody_trusted" in caplog.messages
