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

GOLDEN = Path(__file__).with_name("cba2de7.json")
LeafPath = tuple[str, ...]


def read(path: Path) -> dict[str, Any]:
    """Read a captured document."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def differences(section: str, golden: Any, now: Any) -> list[str]:  # noqa: ANN401  # JSON
    """Return a readable difference for every value of a section that is not as it was."""
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
    lines = difflib.unified_diff(
        _shown(before).splitlines(), _shown(after).splitlines(), "golden", "now", lineterm="", n=1
    )
    return "\n  ".join([where, *lines])


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
