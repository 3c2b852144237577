"""Capture what must not change when modules move and names change, as one JSON document.

    python tests/unchanged/capture.py --out now.json [--section NAME ...]
    python tests/unchanged/compare.py now.json

It reads and runs the tree that it lies in, whatever is installed. Every section runs in a process
of its own, with the same environment everywhere. `names.py` says where the few internals lie that
are needed, `accepted.py` which differences are meant.

    commands   help, version, wrong flags, environment variables, types, bounds and defaults
    files      the frame ring's file, and what the history of a line's distances says
    keys, lua  keys in Redis, and the scripts
    line       a line of real processes: what the commands say, the worker's log events and pages,
               what is left in Redis, the archive, the copies of engines, overlays, the proof
    metrics    names, types, labels, help and buckets; /metrics, /healthz and /readyz
    redis      every command that Redis sees in one deterministic run, and what is left in it
    registry   what engine-registry says; records, pointer, refusals, manifests, fetched copies
    samples    what trainer-samples says; the store's index, files, snapshots, its export
    source     static scans: log events and fields, texts of errors, help texts, all other texts,
               numbers of constants
    training   what trainer-retrain and trainer-evaluate say; run folder, gate report, manifest,
               the engine's inputs and outputs, seen.json, names of tensors in checkpoints
    wire       bytes of every kind of message, and what foreign bytes raise

Not covered: TensorRT, int8 and imported models; pipeline-demo, -loop, -bench, -drill, -doctor and
trainer-reproduce beyond their help and texts, so demo pages, loop.json, bench.json and the tables;
sheets and other drawings (of the overlays the bytes); cameras but synthetic parts and folders; a
registry or Redis behind a URL; drift alarms, a rollout that is refused or rolled back, and a worker
that dies, on a running line. Measured figures and times are left out everywhere. The bytes depend
on the versions of Python, pydantic, OpenCV and zlib: compare trees in one environment.
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

import dump_files
import dump_metrics
import dump_redis
import dump_wire
import journey_line
import journey_redis
import journey_registry
import journey_samples
import journey_training
import run_commands
import scan_source
from compare import FAILED

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 3  # a section often waits

SECTIONS: dict[str, Callable[[Path], Any]] = {
    "commands": run_commands.capture,
    "files": dump_files.capture,
    "keys": dump_redis.keys,
    "line": journey_line.capture,
    "lua": dump_redis.lua,
    "metrics": dump_metrics.capture,
    "redis": journey_redis.capture,
    "registry": journey_registry.capture,
    "samples": journey_samples.capture,
    "source": scan_source.capture,
    "training": journey_training.capture,
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
