"""A registry as people and workers use it: what the commands say, and the files they leave."""

import json
import re
from pathlib import Path
from typing import Any

from names import look_up
from shell import Shell, shell

CREATED = "2025-11-26T07:00:00+00:00"
_GATE = {
    "decision": "promote",
    "reasons": ["fewer escapes: 1 of 60"],
    "figures": [
        {"name": "escapes", "unit": "%", "incumbent": 5.0, "candidate": 1.7, "standing": "better"}
    ],
}


def capture(root: Path) -> dict[str, Any]:
    """Return what each step said, and every file of the registry and of a fetched copy."""
    with shell(root) as opened:
        said = _steps(opened)
        files = opened.shown.tree(opened.folder)
    return {"said": said, "files": files}


def write_engine(path: Path, side: int = 16, cost_ms: float = 0.0, threshold: float = 0.5) -> None:
    """Write a fixed engine and its manifest, made at a fixed time."""
    plan = look_up("FixedPlan")(height=side, width=side, cost_ms_per_call=cost_ms)
    look_up("write_fixed_engine")(path, plan, 32, threshold)
    manifest = path.with_name(f"{path.name}.json")
    text = manifest.read_text("utf-8")
    dated, count = re.subn(r'"created": "[^"]*"', f'"created": "{CREATED}"', text)
    assert count == 1, text
    manifest.write_text(dated, "utf-8")


def _steps(opened: Shell) -> dict[str, Any]:
    said: dict[str, Any] = {}

    def ask(word: str, *arguments: str) -> dict[str, Any]:
        step = f"{len(said):02} {' '.join((word, *arguments))}"
        said[step] = opened.run("engine-registry", word, *arguments, "--registry", "registry")
        return dict(said[step])

    for number in range(2):
        write_engine(opened.folder / f"line{number}.fixed", cost_ms=number)
    (opened.folder / "gate.json").write_text(json.dumps(_GATE))
    (opened.folder / "seen.json").write_text("{}")
    ask("list")
    ask("show")
    first = json.loads(ask("add", "line0.fixed", "--json")["out"])["name"]
    second = json.loads(
        ask("add", "line1.fixed", "--extra", "gate.json,seen.json", "--json")["out"]
    )["name"]
    ask("promote", first, "--by", "anna")
    ask("promote", second, "--by", "anna", "--json")
    ask("show", second)
    ask("show", "--json")
    ask("rollback", "--by", "ben")
    ask("fetch", first, "cache")
    for wrong in (("add", "no.onnx"), ("promote", "nosuch"), ("fetch", "no-such", "cache")):
        ask(*wrong)
    registry = look_up("Registry")(str(opened.folder / "registry"))
    pointer = registry.pointer()
    registry.refuse(pointer.promoted, pointer.at, "outside the band", "line-1, worker-1")
    ask("list")
    ask("list", "--json")
    (opened.folder / "registry" / "promoted.json").write_text("{}")
    ask("list")
    return said
