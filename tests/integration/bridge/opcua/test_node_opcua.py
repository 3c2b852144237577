from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.line import Plant
from rigs.node_opcua import NodeClient, Refused, node_client
from rigs.opcua import Identity, identity, opcua_bridge, trust
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.opcua.security import SecurityFolder
from pipeline.bridge.opcua.tags import TAGS
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys


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


@pytest.fixture
def node() -> Iterator[NodeClient]:
    with node_client() as running:
        yield running


def ids(*names: str, camera: str = "cam") -> list[str]:
    return [f"ns=2;s=Live/{camera}/{name}" for name in names]


def unacknowledged(plant: Plant) -> int:
    return int(plant.client.xpending(Keys(plant.name).results, "bridge")["pending"])


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256_Sha256_RsaPss"])
def test_values_equal_the_verdicts_and_the_clients_acknowledgement_reaches_redis(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path,
    policy: str,
) -> None:  # fmt: skip
    says = [Decision.OK, Decision.NG, Reason.ENGINE, Decision.OK, Decision.NG]
    with opcua_bridge(plant, url, folder) as (running, at):
        node.connect(at, plc, tmp_path, policy=policy)
        for seq, said in enumerate(says, 70_000):
            plant.offer(seq)
            plant.judge(said)
        [newest] = ids("TriggerId")
        wait_until(lambda: node.do("read", ids=[newest]) == [70_004])
        slots = [seq % 8 for seq in range(70_000, 70_005)]
        names = [f"Slot{at}_{name}" for at in slots for name in ("TriggerId", "Code", "Reason")]
        shown = node.do("read", ids=ids(*names))
        assert shown[0::3] == list(range(70_000, 70_005))
        assert shown[1::3] == [1, 2, 3, 1, 2]
        assert shown[2::3] == [0, 0, 4, 0, 0]
        values = ["CountOk", "CountNg", "CountUnknown", "PartId", "Toggle", "Ready", "Epoch"]
        assert node.do("read", ids=ids(*values)) == [2, 2, 1, "part-70004", True, True, 1]
        assert unacknowledged(plant) == 5
        ack, epoch = ids("AckTriggerId", "AckEpoch")
        written = [(ack, "UInt32", 70_004), (epoch, "UInt16", 1)]
        assert node.do("write", values=written) == ["Good", "Good"]
        wait_until(lambda: unacknowledged(plant) == 0)
        assert running.figures.of(Outcome.DELIVERED) == list(range(70_000, 70_005))
        node.do("close")


def test_subscriber_sees_every_verdict_end_in_unknown_and_may_not_ask_for_every_instant(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    with opcua_bridge(plant, url, folder) as (running, at):
        node.connect(at, plc, tmp_path)
        code, trigger_id = ids("Slot3_Code", "Slot3_TriggerId")
        assert node.do("subscribe", ids=[code, trigger_id], interval=1) == 5
        plant.offer(3, in_ns=2_000_000_000)
        plant.judge(Decision.OK)
        wait_until(lambda: [code, 3] in node.do("seen"))
        seen = node.do("seen")
        assert [value for name, value in seen if name == code] == [0, 1, 3]
        assert [value for name, value in seen if name == trigger_id] == [0, 3]
        wait_until(lambda: running.figures.of(Outcome.UNCONFIRMED) == [3])
        node.do("close")


def test_what_a_subscriber_gets_can_be_acknowledged(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    with opcua_bridge(plant, url, folder) as (running, at):
        node.connect(at, plc, tmp_path)
        code, trigger_id = ids("Code", "TriggerId")
        node.do("subscribe", ids=[code, trigger_id], interval=20)
        plant.offer(5)
        plant.judge(Decision.NG)
        wait_until(lambda: [trigger_id, 5] in node.do("seen"))
        ack, epoch = ids("AckTriggerId", "AckEpoch")
        node.do("write", values=[(ack, "UInt32", 5), (epoch, "UInt16", 1)])
        wait_until(lambda: running.figures.of(Outcome.DELIVERED) == [5])
        node.do("close")


def test_wrong_password_is_refused(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at):
        with pytest.raises(Refused, match="BadUserAccessDenied"):
            node.connect(at, plc, tmp_path, password="guess")  # noqa: S106
        node.connect(at, plc, tmp_path)
        node.do("close")


def test_foreign_certificate_is_refused_and_kept_for_a_person_to_trust(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    del plc
    stranger = identity(tmp_path, "stranger")
    with opcua_bridge(plant, url, folder) as (_, at):
        with pytest.raises(Refused, match="BadCertificateUntrusted"):
            node.connect(at, stranger, tmp_path)
        [kept] = (folder / "rejected").iterdir()
        assert kept.read_bytes() == stranger.certificate.read_bytes()
        kept.rename(folder / "trusted" / kept.name)
        node.connect(at, stranger, tmp_path)
        node.do("close")


@pytest.mark.parametrize(
    ("mode", "policy"),
    [("None", "None"), ("Sign", "Basic256Sha256"), ("SignAndEncrypt", "Basic256")],
)
def test_no_or_weak_encryption_is_refused(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path,
    mode: str, policy: str,
) -> None:  # fmt: skip
    with opcua_bridge(plant, url, folder) as (_, at):
        with pytest.raises(Refused, match=r"(?i)security"):
            node.connect(at, plc, tmp_path, mode=mode, policy=policy)
        node.connect(at, plc, tmp_path)
        node.do("close")


def test_write_to_a_read_only_tag_is_refused_and_changes_nothing(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    with opcua_bridge(plant, url, folder) as (_, at):
        node.connect(at, plc, tmp_path)
        code, trigger_id = ids("Code", "TriggerId")
        written = [(code, "Byte", 1), (trigger_id, "UInt32", 9)]
        assert node.do("write", values=written) == ["BadUserAccessDenied"] * 2
        assert node.do("read", ids=[code, trigger_id]) == [0, 0]
        node.do("close")


def test_node_ids_are_the_same_at_every_start(
    plant: Plant, url: str, folder: Path, plc: Identity, node: NodeClient, tmp_path: Path
) -> None:
    found = []
    for _ in range(2):
        with opcua_bridge(plant, url, folder) as (_, at):
            node.connect(at, plc, tmp_path)
            found.append(node.do("browse", id="ns=2;s=Live/cam"))
            node.do("close")
    assert found[0] == found[1]
    wanted = [(tag.name, f"ns=2;s=Live/cam/{tag.name}") for tag in TAGS]
    assert [tuple(each) for each in found[0] if each[0] in {tag.name for tag in TAGS}] == wanted
