"""Capture what must not change when modules move and names change, as one JSON document.

    python tests/unchanged/capture.py --out now.json
    python tests/unchanged/compare.py now.json

It reads and runs the tree that it lies in, whatever is installed.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dump_metrics
import dump_redis
import dump_wire
import run_commands
import scan_source

FAILED = "this section failed"
ROOT = Path(__file__).resolve().parents[2]

SECTIONS: dict[str, Callable[[Path], Any]] = {
    "commands": run_commands.capture,
    "field_texts": scan_source.field_texts,
    "keys": dump_redis.keys,
    "log_events": scan_source.log_events,
    "lua": dump_redis.lua,
    "messages": scan_source.messages,
    "metrics": dump_metrics.capture,
    "texts": scan_source.texts,
    "wire": dump_wire.capture,
}


def capture(names: list[str]) -> dict[str, Any]:
    """Return the named sections; one that fails holds its traceback."""
    return {name: _section(SECTIONS[name]) for name in sorted(names)}


def _section(section: Callable[[Path], Any]) -> Any:  # noqa: ANN401  # JSON
    try:
        return section(ROOT)
    except Exception:  # noqa: BLE001  # reported as a difference
        return {FAILED: traceback.format_exc()}


def write(path: Path, sections: dict[str, Any]) -> None:
    """Write sections into a document; the other sections that it holds stay."""
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    text = json.dumps({**held, **sections}, indent=0, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def main() -> int:
    """Run the capture; the exit status is 1 where a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--section", action="append", choices=sorted(SECTIONS), default=[])
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # this tree, even where another one is installed
    sections = capture(given.section or list(SECTIONS))
    write(given.out, sections)
    failed = [name for name, kept in sections.items() if FAILED in kept]
    for name in failed:
        sys.stderr.write(f"section {name} failed:\n{sections[name][FAILED]}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
