"""Compare a captured document with the golden dump; print every value that differs.

    python tests/unchanged/compare.py now.json [--golden cba2de7.json] [--section NAME ...]

The exit status is 1 where anything differs.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accepted import ACCEPTED, GONE

FAILED = "this section failed"  # as capture.py says it
LONG = 200  # characters of a line of which only a part is shown
AROUND = 60
GOLDEN = Path(__file__).with_name("cba2de7.json")
LeafPath = tuple[str, ...]


def read(path: Path) -> dict[str, Any]:
    """Read a captured document."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def differences(section: str, golden: Any, now: Any) -> list[str]:  # noqa: ANN401  # JSON
    """Return a readable difference for every value of a section that is not as it was."""
    if isinstance(now, dict) and FAILED in now:
        return [f"{section}: {FAILED}\n{now[FAILED]}"]
    before, after = dict(_leaves((section,), golden)), dict(_leaves((section,), now))
    return [
        _difference(path, before.get(path, GONE), after.get(path, GONE))
        for path in sorted(before.keys() | after.keys())
        if not _may_stand(path, before.get(path, GONE), after.get(path, GONE))
    ]


def _may_stand(path: LeafPath, before: object, after: object) -> bool:
    return before == after or (path in ACCEPTED and ACCEPTED[path] == after)


def _leaves(path: LeafPath, value: Any) -> Iterator[tuple[LeafPath, object]]:  # noqa: ANN401
    """Yield each value that is no mapping, with its path."""
    if not isinstance(value, dict):
        yield path, value
        return
    for name, part in value.items():
        yield from _leaves((*path, name), part)


def _difference(path: LeafPath, before: object, after: object) -> str:
    where = " / ".join(path)
    if before is GONE:
        return f"{where}\n  new: {_shown(after)}"
    if after is GONE:
        return f"{where}\n  gone: {_shown(before)}"
    was, now = _shown(before).splitlines(), _shown(after).splitlines()
    changed = list(difflib.unified_diff(was, now, "golden", "now", lineterm="", n=1))
    return "\n  ".join([where, *_shortened(changed)])


def _shortened(lines: list[str]) -> list[str]:
    """Return the lines of a difference, of long ones the part where the first two differ."""
    longs = [line for line in lines if len(line) > LONG and line[0] in "+-"]
    pair = [next((line for line in longs if line[0] == sign), "") for sign in "-+"]
    at = next((at for at, (a, b) in enumerate(zip(*pair, strict=False)) if at and a != b), 0)
    start = max(1, at - AROUND)
    return [
        f"{line[0]} [from {start}] ...{line[start : start + LONG]}..." if len(line) > LONG else line
        for line in lines
    ]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_shown, value))
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def main() -> int:
    """Compare two documents section by section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("now", type=Path)
    parser.add_argument("--golden", type=Path, default=GOLDEN)
    parser.add_argument("--section", action="append", default=[])
    given = parser.parse_args()
    golden, now = read(given.golden), read(given.now)
    status = 0
    for section in given.section or sorted(golden.keys() | now.keys()):
        found = differences(section, golden.get(section, {}), now.get(section, {}))
        sys.stdout.write(f"{section}: {len(found)} differences\n")
        for difference in found:
            sys.stdout.write(f"{difference}\n\n")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
