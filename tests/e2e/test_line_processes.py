import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rigs.processes import SIZE, WAIT_S, Plant, plan, plant_in

from engines.files import file_sha256
from engines.manifest import Manifest, Thresholds, write_manifest
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ProcessFailed, wait_until
from pipeline.product.product import write_product


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("codec", ["raw", "jpeg", "png", "ring"])
def test_every_part_gets_one_verdict_over_every_transport(plant: Plant, codec: str) -> None:
    plant.worker(plan())
    plant.camera("--count", "200", "--codec", codec).wait(WAIT_S)
    plant.wait_for(200)
    report = reconcile(plant.ledger)
    assert report.broken() == []
    assert dict(report.answers) == {"OK": 200}


def test_line_slower_than_its_camera_answers_every_part_and_counts_what_it_shed(
    plant: Plant,
) -> None:
    worker = plant.worker(plan(cost_ms_per_frame=20.0), "--results-kept", "10000")
    camera = plant.camera(
        "--count", "600", "--rate", "300", "--live", "--budget-mb", "1", "--deadline-ms", "30000"
    )
    camera.wait(WAIT_S)
    plant.wait_for(600)
    report = reconcile(plant.ledger)
    assert report.broken() == []
    assert report.answers["SHED"] > 100
    assert report.answers["OK"] > 10
    metrics = page(plant, "/metrics")
    assert f'answer="SHED",line="line-1"}} {float(report.answers["SHED"])}' in metrics
    assert 'prn_ready{line="line-1"} 1.0' in metrics
    assert 'prn_engine{line="line-1",model="fixed"' in metrics
    assert worker.stop() == 0


def test_file_whose_name_is_no_text_is_a_part_as_any_other(plant: Plant) -> None:
    pictures = plant.folder / "pictures"
    pictures.mkdir()
    drawn = cv2.imencode(".png", np.full((SIZE, SIZE, 3), 90, np.uint8))[1].tobytes()
    (pictures / os.fsdecode(b"caf\xe9-1.png")).write_bytes(drawn)
    (pictures / os.fsdecode(b"caf\xe9-2.png")).write_bytes(drawn[:60])
    (pictures / "last-3.png").write_bytes(drawn)
    plant.worker(plan())
    plant.camera("--source", str(pictures), "--part-pattern", r"(.*)-\d").wait(WAIT_S)
    plant.wait_for(3)
    assert sorted(plant.answers()) == ["OK", "OK", "UNREADABLE"]


def test_deadlines_are_kept_when_no_worker_is_left(plant: Plant) -> None:
    camera = plant.camera("--rate", "20", "--live", "--deadline-ms", "300")
    plant.wait_for(20)
    assert set(plant.answers()) == {"LATE"}
    assert camera.stop() == 0


def test_oldest_waiting_parts_are_shed_first(plant: Plant) -> None:
    plant.worker(plan(cost_ms_per_frame=50.0))
    plant.camera("--count", "300", "--live", "--budget-mb", "0.5").wait(WAIT_S)
    plant.wait_for(300)
    answers = plant.answers()
    shed = [at for at, answer in enumerate(answers) if answer == "SHED"]
    seqs = [seq_of(plant, at) for at in shed]
    assert len(seqs) > 50
    assert seqs == sorted(seqs)


def seq_of(plant: Plant, at: int) -> int:
    from pipeline.wire import decode_identity  # noqa: PLC0415  # needed here only

    return decode_identity(plant.ledger.results("-", 100_000)[at].header).seq


def test_parts_beyond_their_deadline_are_answered_late(plant: Plant) -> None:
    plant.worker(plan(cost_ms_per_frame=20.0))
    wait_until(lambda: bool(started(plant)), WAIT_S, "start")
    camera = plant.camera("--count", "300", "--rate", "200", "--live", "--deadline-ms", "300")
    camera.wait(WAIT_S)
    plant.wait_for(300)
    report = reconcile(plant.ledger)
    assert report.broken() == []
    assert report.answers["LATE"] > 100
    assert report.answers["OK"] > 5


def test_killed_camera_goes_on_where_it_was(plant: Plant) -> None:
    plant.worker(plan())
    camera = plant.camera("--count", "1000", "--rate", "400", name="first")
    plant.wait_for(150)
    camera.kill()
    plant.camera("--count", "1000", name="second").wait(WAIT_S)
    plant.wait_for(1000)
    report = reconcile(plant.ledger)
    assert report.broken() == []
    assert report.cameras[0].gaps == ()
    assert report.offered == 1000


def test_second_camera_under_one_name_is_refused(plant: Plant) -> None:
    plant.worker(plan())
    plant.camera("--rate", "100", "--count", "100000", name="first")
    plant.wait_for(10)
    second = plant.camera("--rate", "1", "--count", "100000", name="second")
    assert second.process.wait(WAIT_S) == 1
    assert "another pipeline-camera" in second.log_tail()


def test_worker_drains_on_sigterm_and_others_lose_nothing(plant: Plant) -> None:
    leaving = plant.worker(plan(cost_ms_per_frame=2.0), name="leaving")
    plant.worker(plan(cost_ms_per_frame=2.0), name="staying")
    camera = plant.camera("--count", "600")
    plant.wait_for(100)
    wait_until(lambda: "worker.started" in leaving.log_tail(), WAIT_S, "its start")
    assert leaving.stop() == 0
    camera.wait(WAIT_S)
    plant.wait_for(600)
    assert reconcile(plant.ledger).broken() == []
    assert plant.log("leaving")[-1]["event"] == "worker.drained"


def test_second_signal_ends_a_draining_worker_at_once(plant: Plant) -> None:
    worker = plant.worker(plan(cost_ms_per_call=2000.0), "--drain-s", "60", most=1)
    plant.camera("--count", "4").wait(WAIT_S)
    wait_until(lambda: bool(started(plant)), WAIT_S, "start")
    time.sleep(1)
    worker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "worker.draining" in worker.log_tail(), WAIT_S, "draining")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(5) == 130


def test_page_tells_health_and_readiness(plant: Plant) -> None:
    plant.worker(plan())
    wait_until(lambda: bool(started(plant)), WAIT_S, "start")
    assert json.loads(page(plant, "/healthz")) == {"ok": True, "why": ""}
    wait_until(lambda: json.loads(page(plant, "/readyz"))["ok"], WAIT_S, "readiness")
    assert "fixed engine" in json.loads(page(plant, "/readyz"))["note"]
    assert "engine.fixed" in [event["event"] for event in plant.log("worker")]


def started(plant: Plant) -> list[dict[str, object]]:
    return [event for event in plant.log("worker") if event["event"] == "worker.started"]


def page(plant: Plant, path: str) -> str:
    port = started(plant)[0]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("command", "flags", "status", "said"),
    [
        ("pipeline-worker", [], 2, "--engine is needed"),
        ("pipeline-worker", ["--engine", "absent.onnx"], 1, "no engine file absent.onnx"),
        ("pipeline-camera", ["--source", "nowhere:1"], 1, "there are"),
        ("pipeline-camera", ["--source", "synthetic:1", "--size", "big"], 2, "HEIGHTxWIDTH"),
        ("pipeline-worker", ["--engine", "e", "--no-such-flag"], 2, "no-such-flag"),
        ("pipeline-reconcile", ["--redis-url", "redis://u:secret@h"], 1, "PRN_REDIS_PASSWORD"),
        ("pipeline-reconcile", ["--redis-url", "redis://127.0.0.1:1"], 1, "does not answer"),
        ("pipeline-reconcile", ["--redis-url", "http://h"], 1, "known schemes"),
        ("pipeline-reconcile", ["--line", "a b"], 2, "letters, digits"),
        ("pipeline-reconcile", ["--line", "unknown"], 1, "nothing was checked"),
    ],
)
def test_bad_flags_are_answered_with_one_sentence(
    tmp_path: Path, command: str, flags: list[str], status: int, said: str
) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command)), *flags],
        env={**os.environ, "PRN_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_folder_ends_after_the_count_that_was_asked_for(plant: Plant, tmp_path: Path) -> None:
    plant.worker(plan())
    write_product(tmp_path / "product", 1, normals=5, test_good=1, per_defect=1)
    folder = f"folder:{tmp_path / 'product'}"
    plant.processes.start(
        "camera", "pipeline-camera", "--source", folder, "--count", "3", "--size", "64x64"
    ).wait(WAIT_S)
    plant.wait_for(3)
    assert reconcile(plant.ledger).offered == 3


def drill(folder: Path, *flags: str) -> dict[str, Any]:
    """Run a drill that keeps every promise; return its figures."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("pipeline-drill")),
            *("--json", "--folder", str(folder), *flags),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["broken"] == []
    return figures


def test_no_part_pays_for_processes_that_stand_still_and_connections_that_fail(
    tmp_path: Path,
) -> None:
    figures = drill(tmp_path, "--chaos", "--frames", "4000")
    assert figures["faults"]
    assert sum(figures["answers"].values()) == 4000


def test_parts_that_redis_lost_by_going_back_are_named(tmp_path: Path) -> None:
    named = drill(tmp_path, "--rollback", "--frames", "12000")["rollback"]
    assert set(named) == {"live", "restarted", "idle", "away"}
    assert min(named.values()) > 0


def test_redis_that_is_killed_comes_back_and_no_part_is_lost(tmp_path: Path) -> None:
    figures = drill(tmp_path, "--frames", "4000", "--worker-life-s", "3")
    assert figures["kills"]["redis"] == 2
    assert figures["kills"]["camera"] == 2
    assert sum(figures["answers"].values()) == 4000


def mean_engine(folder: Path) -> Path:
    """An engine file whose map is the mean of the colours, not proved yet."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["wide", "most"], ["colours"]),
        helper.make_node("ReduceMean", ["colours"], ["map"], axes=[3], keepdims=0),
        helper.make_node("ReduceMean", ["map"], ["score"], axes=[1, 2], keepdims=0),
    ]
    ports = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", SIZE, SIZE, 3]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", SIZE, SIZE]),
    ]
    most = numpy_helper.from_array(np.array(255, np.float32), "most")
    graph = helper.make_graph(nodes, "mean", ports[:1], ports[1:], [most])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = folder / "mean.onnx"
    onnx.save(model, path)
    manifest = Manifest(
        sha256=file_sha256(path),
        model="mean",
        version="1",
        created="2026-11-26T00:00:00Z",
        format="onnx",
        format_version="1",
        device="any",
        height=SIZE,
        width=SIZE,
        max_batch=4,
        precision="fp32",
        thresholds=Thresholds(image=2.0, pixel=1.0, method="test", normals=0),
    )
    write_manifest(path, manifest)
    return path


def test_worker_serves_an_engine_only_when_it_was_admitted_or_is_told_to(plant: Plant) -> None:
    engine = str(mean_engine(plant.folder))
    refused = plant.processes.start("refused", "pipeline-worker", "--engine", engine)
    wait_until(lambda: not refused.alive(), WAIT_S, "the end of the worker")
    with pytest.raises(ProcessFailed, match="engine-admit --engine"):
        refused.check(refused.process.returncode)
    flags = ("--engine", engine, "--skip-admission")
    told = plant.processes.start("told", "pipeline-worker", *flags)
    plant.camera("--count", "3").wait(WAIT_S)
    plant.wait_for(3)
    assert "engine.not_admitted" in [line["event"] for line in plant.log("told")]
    assert told.stop() == 0
    plant.processes.start("admit", "engine-admit", "--engine", engine).wait(WAIT_S)
    plant.processes.start("proved", "pipeline-worker", "--engine", engine)
    plant.camera("--count", "3", name="second").wait(WAIT_S)
    plant.wait_for(6)
    assert "engine.not_admitted" not in [line["event"] for line in plant.log("proved")]
