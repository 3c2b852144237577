"""The keys of a line in Redis and the scripts that change them."""

import hashlib
import re
from pathlib import Path
from typing import Any

from names import look_up

_COMMENT = re.compile(r"\s*--.*")


def keys(root: Path) -> dict[str, str]:
    """Return every key of a line, by what it is for; `{line}` becomes `{line-1}`."""
    del root
    made = look_up("Keys")("line-1")
    attributes = {name: value for name, value in vars(made).items() if isinstance(value, str)}
    keys = {value: "one" for name, value in attributes.items() if not name.startswith("_")}
    arguments: dict[str, Any] = {
        "camera": "cam-1",
        "holder": "cam-1",
        "runs": "cam-1",
        "label": b"packed",
        "worker": "worker-1",
    }
    for name, argument in arguments.items():
        if hasattr(made, name):  # one that is gone is a difference
            keys[getattr(made, name)(argument)] = "each"
    return dict(sorted(keys.items()))


def lua(root: Path) -> dict[str, Any]:
    """Return each script without its comments, and the hashes of all bytes of the scripts."""
    codes = [code(path.read_text("utf-8")) for path in scripts(root)]
    return {
        "code": {short_hash(text.encode()): text for text in codes},
        "bytes": sorted(short_hash(path.read_bytes()) for path in scripts(root)),
    }


def scripts(root: Path) -> list[Path]:
    """Return the files of all scripts."""
    return sorted((root / "pipeline").rglob("*.lua"))


def code(script: str) -> str:
    """Return a script without comments."""
    lines = [_COMMENT.sub("", line) for line in script.splitlines()]
    return "\n".join(line for line in lines if line.strip())


def short_hash(content: bytes) -> str:
    """Return the beginning of the SHA-256 of some bytes, hex."""
    return hashlib.sha256(content).hexdigest()[:16]


def sha1(content: bytes) -> str:
    """Return the SHA-1 of some bytes, hex, as Redis names a script."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
