import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.bridge.process import FACES
from pipeline.bridge.settings import BridgeSettings

SECRET = Path("secret")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"to": "modbus"}, "--cameras"),
        ({"to": "modbus", "cameras": "a,a"}, "--cameras"),
        ({"to": "modbus", "cameras": "a b"}, "name"),
        ({"to": "modbus", "cameras": ",".join(f"c{at}" for at in range(65))}, "at most 64"),
        ({"to": "modbus", "cameras": "a", "listen": "5020"}, "HOST:PORT"),
        ({"to": "modbus", "cameras": "a", "listen": "host:70000"}, "HOST:PORT"),
        ({"to": "modbus", "cameras": "a", "allow": "10.0.0.1/8"}, "10.0.0.1/8"),
        ({"to": "modbus", "cameras": "a", "from_start": True}, "--from-start"),
        ({"to": "opcua", "users_file": SECRET}, "--cameras"),
        ({"to": "opcua", "cameras": "a"}, "--users-file"),
        ({"to": "webhook"}, "--url"),
        ({"to": "webhook", "url": "https://mes/"}, "--secret-file"),
        ({"to": "mqtt"}, "--url"),
        ({"to": "mqtt", "url": "mqtts://b", "topic_root": "a/+"}, "--topic-root"),
        ({"to": "smoke"}, "smoke"),
    ],
)
def test_flags_that_cannot_be_right_are_refused(flags: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        BridgeSettings.model_validate(flags)


def test_each_target_reads_under_a_name_of_its_own_and_listens_on_this_machine() -> None:
    modbus = BridgeSettings(to="modbus", cameras="a, b")
    webhook = BridgeSettings(to="webhook", url="https://mes/", secret_file=SECRET)
    assert (modbus.reader(), webhook.reader()) == ("bridge-modbus", "bridge-webhook")
    assert modbus.camera_names() == ["a", "b"]
    assert (modbus.address(), modbus.networks()) == (("127.0.0.1", 5020), [])
    assert webhook.parked_path().name == "bridge-webhook.parked.jsonl"
    assert webhook.freshness().margin_ms == 0


def test_opcua_listens_on_this_machine_and_keeps_certificates_in_its_state() -> None:
    opcua = BridgeSettings(to="opcua", cameras="a", users_file=SECRET)
    assert opcua.address() == ("127.0.0.1", 4840)
    assert opcua.security_path().name == "bridge-opcua.opcua"
    assert opcua.freshness().margin_ms == 20
    assert not opcua.insecure


def test_every_target_has_a_face() -> None:
    choices = BridgeSettings.model_fields["to"].annotation
    assert set(FACES) == set(choices.__args__)  # type: ignore[union-attr]


PROGRAM = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pymodbus", "paho", "asyncua"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
sys.argv[1:] = ARGUMENTS
from pipeline.cli import bridge
bridge()
"""


def run_without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.replace("ARGUMENTS", repr(list(arguments)))
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("flags", "lacking"),
    [
        (
            ["--to", "modbus", "--cameras", "cam"],
            "Modbus needs the package pymodbus: pip install 'prn-line[modbus]'",
        ),
        (
            ["--to", "mqtt", "--url", "mqtt://127.0.0.1"],
            "MQTT needs the package paho-mqtt: pip install 'prn-line[mqtt]'",
        ),
    ],
)
def test_missing_extra_is_one_sentence_with_the_command(flags: list[str], lacking: str) -> None:
    ended = run_without_extras(*flags)
    assert ended.returncode == 1
    assert ended.stderr == f"pipeline-bridge: {lacking}\n"


def test_missing_extra_of_opcua_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("plc:secret\n")
    ended = run_without_extras("--to", "opcua", "--cameras", "cam", "--users-file", str(users))
    assert ended.returncode == 1
    sentence = "pipeline-bridge: OPC UA needs the package asyncua: pip install 'prn-line[opcua]'\n"
    assert ended.stderr == sentence


def test_map_is_printed_without_redis_and_without_the_extra() -> None:
    ended = run_without_extras("--to", "modbus", "--cameras", "cam,side", "--print-map")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("camera,address,registers,type,access,name,meaning\ncam,0,1,u16")
    assert "\nside,1000,1,u16,read,heartbeat," in ended.stdout
