"""Which engines a worker serves."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.registry import admitted
from fakes.tiny_engine import RUNTIME, write_tiny_engine, write_unadmitted_engine

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.errors import AdmissionError
from engines.machine import machine_name
from engines.manifest import read_manifest, write_manifest
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.loading import EngineOptions, load_engine, prepare_engine

OPTIONS = EngineOptions(RUNTIME.backend, RUNTIME.device, RUNTIME.threads, 0, skip_admission=False)
STUB = EngineOptions("auto", "auto", 0, 0, skip_admission=False)
BY_HAND = replace(STUB, allow_fixed=True)


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    path = tmp_path / "stub.fixed"
    write_fixed_engine(path, FixedPlan(height=16, width=16))
    return path


def test_fixed_engine_is_served_by_hand_and_with_its_own_flag_only(
    stub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for options in (STUB, replace(STUB, skip_admission=True)):
        with pytest.raises(AdmissionError, match="--allow-fixed-engine"):
            load_engine(stub, options)
    assert load_engine(stub, BY_HAND).name.model == "fixed"
    warnings = [record.msg for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["engine.fixed"]


def test_fixed_engine_of_a_registry_is_never_served(stub: Path) -> None:
    incumbent = load_engine(stub, BY_HAND)
    admitted(stub, machine_name())  # forged
    for options in (STUB, BY_HAND, replace(BY_HAND, skip_admission=True)):
        with pytest.raises(AdmissionError, match="none is served from a registry"):
            load_engine(stub, options, "fixed-1")
        with pytest.raises(AdmissionError, match="none is served from a registry"):
            prepare_engine(stub, options, "fixed-1", incumbent)


def test_engine_without_admission_is_served_only_where_that_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    write_unadmitted_engine(path)
    with pytest.raises(AdmissionError, match="has not proved itself"):
        load_engine(path, OPTIONS)
    assert load_engine(path, replace(OPTIONS, skip_admission=True)).version == ""
    write_tiny_engine(path)
    assert load_engine(path, OPTIONS, "small-1").version == "small-1"


def test_flag_of_the_fixed_engine_goes_with_no_registry() -> None:
    with pytest.raises(ValueError, match="--allow-fixed-engine goes with --engine"):
        WorkerSettings(registry="shelf", allow_fixed_engine=True)
    assert WorkerSettings(engine=Path("a.fixed")).serves_fixed_engine()
    assert not WorkerSettings(engine=Path("a.onnx")).serves_fixed_engine()


def test_engine_without_a_peak_threshold_is_refused_where_zones_judge(tmp_path: Path) -> None:
    engine = tmp_path / "tiny.onnx"
    write_tiny_engine(engine)
    zoned = replace(OPTIONS, needs_peak=True)
    with pytest.raises(AdmissionError, match=r"has no peak_threshold .* train it again"):
        load_engine(engine, zoned)
    manifest = read_manifest(engine)
    thresholds = manifest.thresholds.model_copy(update={"peak": 0.6})
    write_manifest(engine, manifest.model_copy(update={"thresholds": thresholds}))
    assert load_engine(engine, zoned).peak_threshold == 0.6


def test_threshold_by_hand_stands_in_for_a_peak_threshold(tmp_path: Path) -> None:
    named = {"engine": tmp_path / "e.onnx", "zones": tmp_path / "zones.json"}
    assert WorkerSettings(**named).engine_options().needs_peak
    assert not WorkerSettings(**named, threshold=0.4).engine_options().needs_peak
    with pytest.raises(ValueError, match="--zones-product chooses among the zones of --zones"):
        WorkerSettings(engine=tmp_path / "e.onnx", zones_product="nut")
