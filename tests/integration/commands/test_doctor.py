import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from rigs.topology import Server, wait_until

from engines.files import file_sha256
from engines.manifest import Admission, CostPoint, Manifest, Thresholds, write_manifest

COMMAND = [sys.executable, "-c", "from pipeline.cli import doctor; doctor()"]


def doctor(*flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = subprocess.run(
        [*COMMAND, "--json", *flags], capture_output=True, text=True, check=False, timeout=60
    )
    fields = json.loads(done.stdout)
    assert fields["healthy"] == (done.returncode == 0)
    return done.returncode, {check["what"]: check for check in fields["checks"]}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "prn.onnx"
    path.write_bytes(b"weights")
    write_manifest(path, manifest_of(path, None))
    return path


def manifest_of(path: Path, admission: Admission | None) -> Manifest:
    return Manifest(
        sha256=file_sha256(path),
        model="protoad",
        version="1",
        created="2026-11-23T00:00:00Z",
        format="onnx",
        format_version="1.19",
        device="any",
        height=256,
        width=256,
        max_batch=8,
        precision="fp32",
        thresholds=Thresholds(image=0.5, pixel=0.5, method="test", normals=10),
        admission=admission,
    )


def admission_of(*reasons: str) -> Admission:
    return Admission(
        admitted=not reasons,
        machine="this one",
        backend="openvino",
        images=8,
        score_error=0.0,
        map_error=0.0,
        score_tolerance=1e-3,
        map_tolerance=1e-3,
        batch_invariant=True,
        repeatable=True,
        rank_flips=0,
        cost=[CostPoint(batch=1, median_ms=1, p99_ms=1)],
        peak_memory_mb=100.0,
        reasons=list(reasons),
        source="folder",
        tolerance_reason="test",
        created="2026-11-23T00:00:00Z",
    )


def test_healthy_machine_lacks_nothing(url: str) -> None:
    status, checks = doctor("--redis-url", url)
    assert status == 0
    assert checks["Redis"]["state"] == "ok"
    assert "numpy" in checks["libraries"]["found"]


def test_embedded_server_is_found_and_tried(tmp_path: Path) -> None:
    status, checks = doctor("--state-dir", str(tmp_path / "state"))
    assert status == 0
    assert Path(checks["embedded Redis"]["found"]).is_file()
    assert checks["Redis memory"]["state"] == "ok"


def test_missing_redis_is_a_failure_with_its_mend() -> None:
    status, checks = doctor("--redis-url", "redis://127.0.0.1:1")
    assert status == 1
    assert checks["Redis"]["state"] == "failure"
    assert "start it" in checks["Redis"]["found"]


def test_engine_that_was_not_admitted_wants_a_look(url: str, engine: Path) -> None:
    status, checks = doctor("--redis-url", url, "--engine", str(engine))
    assert (status, checks["engine"]["state"]) == (0, "warning")
    assert "engine-admit" in checks["engine"]["found"]
    write_manifest(engine, manifest_of(engine, admission_of()))
    _, checks = doctor("--redis-url", url, "--engine", str(engine))
    assert checks["engine"]["state"] == "ok"


def test_engine_that_may_not_judge_is_a_failure(url: str, engine: Path) -> None:
    write_manifest(engine, manifest_of(engine, admission_of("scores differ")))
    status, checks = doctor("--redis-url", url, "--engine", str(engine))
    assert (status, checks["engine"]["state"]) == (1, "failure")
    assert "scores differ" in checks["engine"]["found"]
    engine.write_bytes(b"other weights")
    status, checks = doctor("--redis-url", url, "--engine", str(engine))
    assert (status, checks["engine"]["state"]) == (1, "failure")


def replicated(server: Server, *flags: str) -> tuple[str, str]:
    """Start a primary and its replica; return their URLs."""
    primary = server(*flags)
    replica = server("--replicaof", "127.0.0.1", str(primary))
    with redis.Redis(port=primary, protocol=2) as client:
        wait_until(lambda: client.info("replication")["connected_slaves"] == 1)
    return f"redis://127.0.0.1:{primary}", f"redis://127.0.0.1:{replica}"


def test_replica_is_named_and_what_a_failover_loses_is_said(server: Server) -> None:
    primary, replica = replicated(server)
    status, checks = doctor("--redis-url", replica)
    assert (status, checks["Redis replication"]["state"]) == (1, "failure")
    assert "read-only replica" in checks["Redis replication"]["found"]
    _, checks = doctor("--redis-url", primary)
    assert checks["Redis replication"]["state"] == "warning"
    assert "min-replicas-to-write 1" in checks["Redis replication"]["found"]


def test_primary_that_waits_for_its_replica_is_well(server: Server) -> None:
    primary, _ = replicated(server, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
    _, checks = doctor("--redis-url", primary)
    assert checks["Redis replication"]["state"] == "ok"


def test_server_without_replicas_is_well(url: str) -> None:
    _, checks = doctor("--redis-url", url)
    assert checks["Redis replication"]["state"] == "ok"


@pytest.mark.parametrize(
    ("flags", "state", "said"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), "ok", "a power cut loses nothing"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "warning", "the last second or two"),
        (("--appendonly", "yes", "--appendfsync", "no"), "warning", "the last 30 seconds or so"),
        (("--appendonly", "no"), "warning", "everything since the last snapshot (3 changes"),
    ],
)
def test_what_a_power_cut_loses_is_said(
    server: Server, flags: tuple[str, ...], state: str, said: str
) -> None:
    port = server(*flags, "--save", "")
    with redis.Redis(port=port) as client:
        for number in range(3):
            client.set("key", number)
    status, checks = doctor("--redis-url", f"redis://127.0.0.1:{port}")
    assert (status, checks["Redis persistence"]["state"]) == (0, state)
    assert said in checks["Redis persistence"]["found"]


def test_user_who_may_not_ask_for_appendfsync_is_told_so(server: Server) -> None:
    rules = "user line on nopass ~* +@all -@admin -@dangerous +info"
    port = server("--appendonly", "yes", "--user", *rules.split()[1:])
    checks = doctor("--redis-url", f"redis://line@127.0.0.1:{port}")[1]
    assert checks["Redis persistence"]["state"] == "warning"
    assert "may not ask for appendfsync" in checks["Redis persistence"]["found"]
