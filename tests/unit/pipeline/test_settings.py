"""Settings and thresholds that would pass every part, or end a command with a traceback."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import ValidationError

from engines.manifest import Thresholds
from pipeline.camera.process import CameraSettings, preparation
from pipeline.errors import SettingsError
from pipeline.settings import LineSettings
from pipeline.worker.settings import WorkerSettings


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_threshold_that_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        WorkerSettings(engine=Path("prn.onnx"), threshold=number)
    with pytest.raises(ValidationError, match="finite"):
        Thresholds(image=number, pixel=0.5, method="chosen", normals=0)


@pytest.mark.parametrize("given", [{}, {"engine": Path("prn.onnx"), "registry": "shelf"}])
def test_worker_is_told_exactly_one_way_which_engine(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="--registry"):
        WorkerSettings(**given)


@pytest.mark.parametrize("by_hand", [{"threshold": 0.4}, {"pixel_threshold": 0.4}])
def test_threshold_of_one_engine_is_refused_where_engines_change(by_hand: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="pipeline-control"):
        WorkerSettings(registry="shelf", **by_hand)


@pytest.mark.parametrize(("registry", "look_s"), [("shelf", 0.2), ("s3://bucket/shelf", 10.0)])
def test_worker_looks_often_where_a_look_costs_nothing(registry: str, look_s: float) -> None:
    assert WorkerSettings(registry=registry).rollout_settings().look_s == look_s
    assert WorkerSettings(registry=registry, registry_look_s=2.0).rollout_settings().look_s == 2.0


@pytest.mark.parametrize("field", ["deadline_ms", "budget_mb"])
def test_camera_settings_without_end_are_refused(field: str) -> None:
    without_end: dict[str, Any] = {field: math.inf}
    with pytest.raises(ValidationError, match="finite"):
        CameraSettings(source="synthetic:1", **without_end)


@pytest.mark.parametrize(
    "scale", ["0,0.1", "0.1,-1", "nan,1", "1,nan", "1,inf", "1", "a,b", "1e200,1"]
)
def test_scale_that_no_worker_would_read_is_refused(scale: str) -> None:
    with pytest.raises(SettingsError, match="mm-per-pixel"):
        preparation(CameraSettings(source="synthetic:1", mm_per_pixel=scale))


def test_picture_that_no_worker_takes_is_refused() -> None:
    with pytest.raises(ValidationError, match="which no worker takes"):
        CameraSettings(source="synthetic:1", size="9000x9000")


def test_password_file_without_a_password_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "password"
    empty.touch()
    with pytest.raises(SettingsError, match="password"):
        LineSettings(redis_password_file=empty).access()


@pytest.mark.parametrize("url", ["redis://:secret@host", "redis://host?password=secret"])
def test_password_on_the_command_line_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pipeline-camera", "--redis-url", url])
    with pytest.raises(SettingsError, match="every user"):
        LineSettings(redis_url=url).access()


def test_password_that_every_user_could_replace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret")
    path.chmod(0o602)
    with pytest.raises(SettingsError, match="chmod 600"):
        LineSettings(redis_password_file=path).access()


@pytest.mark.parametrize(
    ("folder_mode", "mode", "warned"),
    [(0o755, 0o644, True), (0o755, 0o640, False), (0o700, 0o644, False)],
)
def test_password_that_every_user_can_read_is_said(
    folder_mode: int, mode: int, *, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with TemporaryDirectory() as folder:  # pytest's own is closed to others
        Path(folder).chmod(folder_mode)
        path = Path(folder) / "password"
        path.write_text("secret")
        path.chmod(mode)
        assert LineSettings(redis_password_file=path).access().password_file == path
    said = [record.getMessage() for record in caplog.records]
    assert said == (["password_file.exposed"] if warned else [])
