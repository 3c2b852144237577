"""Variables that Kubernetes sets for Services which happen to be called like ours."""

import pytest

from engines.commandline.run import run_command
from pipeline.worker.settings import WorkerSettings

LINK = {"PRN_PORT": "tcp://10.96.0.7:9108", "PRN_SERVICE_HOST": "10.96.0.7"}
ENGINE = ["--engine", "prn.onnx"]


def port_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the port that a worker is given, or the exit status where it is refused."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit) as ended:
        run_command("pipeline-worker", WorkerSettings, lambda given: given.port, (), ENGINE)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_port_of_a_service_is_ignored_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert port_of(LINK, monkeypatch) == 0
    assert "enableServiceLinks" in capsys.readouterr().err


def test_port_that_a_person_sets_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert port_of({"PRN_PORT": "99", "PRN_SERVICE_HOST": "10.96.0.7"}, monkeypatch) == 99


def test_word_for_a_port_is_refused_where_no_service_is_called_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert port_of({"PRN_PORT": "tcp://10.96.0.7:9108"}, monkeypatch) == 2
