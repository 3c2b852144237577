"""Capture what must not change when modules move and names change, as one JSON document.

    python tests/unchanged/capture.py --out now.json [--section NAME ...]
    python tests/unchanged/compare.py now.json

It reads and runs the tree that it lies in, whatever is installed. Every section runs in a process
of its own, with the same environment everywhere.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dump_metrics
import dump_redis
import dump_wire
import journey_line
import journey_redis
import journey_registry
import run_commands
import scan_source

FAILED = "this section failed"
ROOT = Path(__file__).resolve().parents[2]
WORKERS = 3  # a section often waits

SECTIONS: dict[str, Callable[[Path], Any]] = {
    "commands": run_commands.capture,
    "keys": dump_redis.keys,
    "line": journey_line.capture,
    "lua": dump_redis.lua,
    "metrics": dump_metrics.capture,
    "redis": journey_redis.capture,
    "registry": journey_registry.capture,
    "source": scan_source.capture,
    "wire": dump_wire.capture,
}


def capture(names: list[str]) -> dict[str, Any]:
    """Return the named sections; one that fails holds its traceback."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(names, pool.map(_captured, names), strict=True))


def _captured(name: str) -> Any:  # noqa: ANN401  # JSON
    """Capture one section in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="unchanged-") as folder:
        out = Path(folder) / "section.json"
        done = subprocess.run(
            [sys.executable, __file__, "--inside", name, "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
            env=run_commands.environment(ROOT),
        )
        return json.loads(out.read_text("utf-8")) if out.exists() else {FAILED: done.stderr}


def _inside(name: str, out: Path) -> None:
    sys.path.insert(0, str(ROOT))  # this tree, even where another one is installed
    try:
        section = SECTIONS[name](ROOT)
    except Exception:  # noqa: BLE001  # reported as a difference
        section = {FAILED: traceback.format_exc()}
    out.write_text(json.dumps(section), "utf-8")


def write(path: Path, sections: dict[str, Any]) -> None:
    """Write sections into a document; the other sections that it holds stay."""
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    text = json.dumps({**held, **sections}, indent=0, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def main() -> int:
    """Run the capture; the exit status is 1 where a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="written, or changed if it exists")
    parser.add_argument("--section", action="append", choices=sorted(SECTIONS), default=[])
    parser.add_argument("--inside", choices=sorted(SECTIONS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _inside(given.inside, given.out)
        return 0
    sections = capture(given.section or sorted(SECTIONS))
    write(given.out, sections)
    failed = [name for name, kept in sections.items() if FAILED in kept]
    for name in failed:
        sys.stderr.write(f"section {name} failed:\n{sections[name][FAILED]}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
