"""Folders, files and Redis databases as text that is the same in every run.

What differs from run to run is replaced: times keep their form (every digit becomes 0), ids of
stream entries become `<entry>`, names of workers `<worker>`, the working folder `<folder>`.
"""

import hashlib
import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import redis

_HEX_BYTES = 64  # longer ones are hashed
_TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?|\b\d{8}T\d\d\b")
_WORKER = re.compile(rf"{re.escape(socket.gethostname())}:\d+:(\w+):[0-9a-f]{{6}}")
_VOLATILE = (
    "batch|host|inference_ms|learned|median_ms|ng_share|one_ms|p99_ms|pid|port|queue_ms|redis|"
    "redis_ahead_ms|seconds|started_ms|timestamp|transport_ms|up_s"
)
_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (_WORKER, r"<worker \1>"),
    (re.compile(rf"\b{re.escape(socket.gethostname())}\b"), "<host>"),
    (re.compile(r"\b1[6-9]\d{11}-(\d+|shed)\b"), "<entry>"),
    (re.compile(r":label:[0-9a-f]{32}"), ":label:<hash>"),
    (_TIMES, lambda found: re.sub(r"\d", "0", found[0])),
    (re.compile(r"\b1[6-9]\d{17}\b"), "<ns>"),
    (re.compile(r"\b1[6-9]\d{11}(\.\d+)?\b"), "<ms>"),
    (re.compile(r'"timings": \[[^\]]*\]'), '"timings": "<varies>"'),
    (
        re.compile(r'"(cells|distance)": \[([^\]]+)\]'),
        lambda found: f'"{found[1]}": "<{found[2].count(",") + 1} numbers>"',
    ),
    (re.compile(rf'"({_VOLATILE})": ("[^"]*"|-?[\d.e-]+)'), r'"\1": "<varies>"'),
]
_PRINTED = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f]*")


class Shown:
    """Makes values of one working folder the same in every run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def text(self, text: str) -> str:
        """Return a text without what differs from run to run."""
        for path in (str(self._folder.resolve()), str(self._folder)):
            text = text.replace(path, "<folder>")
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return text

    def content(self, content: bytes) -> str:
        """Return bytes as text: a packed map as JSON, a text as it is, else size and hash."""
        fields = _unpacked(content)
        if fields is not None:
            return "packed " + self.text(json.dumps(fields, default=_hex, ensure_ascii=False))
        text = _decoded(content)
        if text is not None:
            return self.text(text)
        return hashed(content)

    def file(self, path: Path) -> Any:  # noqa: ANN401  # JSON
        """Return what a file holds."""
        content = path.read_bytes()
        if content.startswith(b"SQLite format 3"):
            return self.sqlite(path)
        return self.content(content)

    def tree(self, folder: Path, *, left_out: Callable[[Path], bool] = lambda _: False) -> Any:  # noqa: ANN401
        """Return every file in and below a folder by its name; equal names are numbered."""
        files: dict[str, Any] = {}
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or left_out(path):
                continue
            name = self.text(path.relative_to(folder).as_posix())
            files.setdefault(name, []).append(self.file(path))
        return files

    def sqlite(self, path: Path) -> Any:  # noqa: ANN401  # JSON
        """Return schema, version and rows of a database."""
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            schema = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name")
            tables = dict(schema.fetchall())
            rows = {
                name: sorted(map(self._row, connection.execute(f"SELECT * FROM {name}")))  # noqa: S608
                for name, sql in tables.items()
                if sql and sql.startswith("CREATE TABLE")
            }
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        finally:
            connection.close()
        return {"schema": tables, "rows": rows, "version": version}

    def _row(self, row: tuple[Any, ...]) -> str:
        return self.text(json.dumps(row, default=_hex, ensure_ascii=False))

    def database(self, client: redis.Redis) -> Any:  # noqa: ANN401  # JSON
        """Return every key of a Redis server with type, life and contents."""
        found: dict[str, Any] = {}
        for key in sorted(client.scan_iter(count=1000)):
            kind = client.type(key).decode()
            lasts = "expires" if client.pttl(key) > 0 else "stays"
            name = f"{self.text(key.decode())} ({kind}, {lasts})"
            found.setdefault(name, []).append(self._value(client, key, kind))
        return found

    def _value(self, client: redis.Redis, key: bytes, kind: str) -> Any:  # noqa: ANN401  # JSON
        readers: dict[str, Callable[[], Any]] = {
            "string": lambda: client.get(key),
            "hash": lambda: client.hgetall(key),
            "list": lambda: client.lrange(key, 0, -1),
            "set": lambda: sorted(client.smembers(key)),
            "zset": lambda: client.zrange(key, 0, -1, withscores=True),
            "stream": lambda: [fields for _, fields in client.xrange(key)],
        }
        value = self.plain(readers[kind]())
        if kind != "stream":
            return value
        value.sort(key=json.dumps)  # which of two frames is answered first is chance
        groups = client.xinfo_groups(key)
        names = [(group["name"].decode(), group["pending"]) for group in groups]
        return {"entries": value, "groups": sorted(names)}

    def plain(self, value: Any) -> Any:  # noqa: ANN401  # of Redis, to JSON
        """Return an answer of Redis as values of JSON."""
        match value:
            case bytes():
                return self.content(value)
            case str():
                return self.text(value)
            case dict():
                return {self.plain(name): self.plain(part) for name, part in value.items()}
            case list() | tuple():
                return [self.plain(part) for part in value]
            case float():
                return self.text(f"{value:.0f}")
        return value


def _unpacked(content: bytes) -> dict[str, Any] | None:
    try:
        fields = msgpack.unpackb(content)
    except (ValueError, msgpack.UnpackException):
        return None
    return fields if isinstance(fields, dict) else None


def _decoded(content: bytes) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if _PRINTED.fullmatch(text) else None


def _hex(content: object) -> str:
    assert isinstance(content, bytes), type(content)
    return content.hex() if len(content) <= _HEX_BYTES else hashed(content)


def hashed(content: bytes) -> str:
    """Return size and hash of some bytes."""
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text, one a line."""
    for line in text.splitlines():
        if line.startswith("{"):
            yield json.loads(line)
