"""The units, judged by systemd itself: systemd-analyze, which Debian's systemd brings.

None is started: that needs a machine that systemd runs.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.deploy_files import DEPLOY, UNITS, unit_lines

TARGETS = "sysinit basic shutdown network network-online multi-user timers time-set time-sync"
INSTANCES = {"prn-camera@": "cam-1", "prn-worker@": "line-1-a", "prn-retrain@": "line-1"}
SERVICES = [path for path in UNITS if path.suffix == ".service"]
MOST_EXPOSURE = "20"  # of 100; systemd calls 20 OK and 96 UNSAFE


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root folder with the units, the programs that they start and systemd's own targets."""
    units, targets = tmp_path / "etc/systemd/system", tmp_path / "usr/lib/systemd/system"
    for folder in (units, targets):
        folder.mkdir(parents=True)
    for name in TARGETS.split():
        (targets / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    for path in UNITS:
        shutil.copy(path, units)
        for name, value in unit_lines(path):
            if name in {"ExecStart", "ExecStartPost"}:
                program = tmp_path / value.split()[0].lstrip("/")
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_text("#!/bin/sh\n")
                program.chmod(0o755)
    return tmp_path


def unit_name(path: Path) -> str:
    stem = INSTANCES.get(path.stem)
    return path.name if stem is None else f"{path.stem}{stem}{path.suffix}"


def verify(systemd_analyze: str, machine: Path, unit: str) -> subprocess.CompletedProcess[str]:
    command = [
        systemd_analyze,
        "verify",
        f"--root={machine}",
        "--man=no",
        "--recursive-errors=yes",
        unit,
    ]
    folder = machine / "etc/systemd/system"
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit(systemd_analyze: str, machine: Path, path: Path) -> None:
    done = verify(systemd_analyze, machine, unit_name(path))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_refuses_what_is_wrong(systemd_analyze: str, machine: Path) -> None:
    unit = machine / "etc/systemd/system/prn-worker@.service"
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "sometimes" in verify(systemd_analyze, machine, "prn-worker@line-1-a.service").stderr


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_systemd_finds_the_service_little_exposed(
    systemd_analyze: str, machine: Path, path: Path
) -> None:
    command = [systemd_analyze, "security", "--offline=true", f"--root={machine}"]
    done = subprocess.run(
        [*command, f"--threshold={MOST_EXPOSURE}", path.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_units_enabled_as_the_page_says_start_after_a_reboot(systemctl: str, machine: Path) -> None:
    page = (DEPLOY / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^systemctl (enable --now .*)$", page, re.MULTILINE)
    words = line.replace("--now ", "").split()
    command = [systemctl, f"--root={machine}", "--quiet", *words]
    subprocess.run(command, check=True, capture_output=True)
    enabled = {
        f"{link.parent.name.removesuffix('.wants')} {link.name}"
        for link in machine.glob("etc/systemd/system/*.wants/*")
    }
    assert enabled == {
        "multi-user.target prn-line.target",
        "prn-line.target prn-redis.service",
        "prn-line.target prn-camera@cam-1.service",
        "prn-line.target prn-worker@line-1-a.service",
        "timers.target prn-retrain@line-1.timer",
    }


def test_worker_has_time_to_drain() -> None:
    settings = dict(unit_lines(DEPLOY / "systemd/prn-worker@.service"))
    drain = re.search(r"--drain-s (\d+)", settings["ExecStart"])
    assert drain
    assert int(settings["TimeoutStopSec"].removesuffix("s")) > int(drain[1])


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_password_reaches_the_service_as_a_credential(path: Path) -> None:
    settings = list(unit_lines(path))
    assert any(name == "LoadCredential" for name, _ in settings)
    assert not any("PASSWORD=" in value for _, value in settings)
    assert dict(settings)["User"] == "prn"


def test_camera_and_worker_see_the_same_shared_memory() -> None:
    for name in ("camera", "worker"):
        settings = dict(unit_lines(DEPLOY / f"systemd/prn-{name}@.service"))
        assert not {"PrivateIPC", "DynamicUser", "TemporaryFileSystem"} & set(settings)


def test_night_refused_by_the_gate_is_no_failure() -> None:
    assert dict(unit_lines(DEPLOY / "systemd/prn-retrain@.service"))["SuccessExitStatus"] == "3"
