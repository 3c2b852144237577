"""A line of real processes: camera, worker, swap, archive, labels, consumer and proof.

What is kept: what each command said, the events of the worker's log, its metrics, every key that is
left in Redis, every file of the archive, and the pages for probes.
"""

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import redis
from journey_registry import write_engine
from shell import Shell, shell, wait_until
from shown import lines

SIDE = 64
_GREEN = 1  # which is what the fixed engine looks at
# whether they are logged depends on how fast the machine is
_BY_CHANCE = {"clock.apart", "redis.waiting", "archive.dropped", "archive.trimmed"}
_WORKER = (
    *("--registry", "registry", "--archive", "archive", "--archive-share", "1"),
    *("--skip-admission", "--shadow-frames", "0", "--shadow-s", "0", "--watch-frames", "4"),
    *("--threads", "1", "--max-batch", "1", "--archive-near", "0.5"),
)
_CAMERA = ("--size", f"{SIDE}x{SIDE}", "--deadline-ms", "60000", "--rate", "20")


def capture(root: Path) -> dict[str, Any]:
    """Return everything that the line said and left."""
    with shell(root) as opened, opened.redis(opened.folder / "redis") as url:
        os.environ |= {"PRN_STATE_DIR": str(opened.folder / "redis"), "PRN_LOG_FORMAT": "json"}
        client = redis.Redis.from_url(url, protocol=2)
        try:
            return _Line(opened, client).run()
        finally:
            client.close()


class _Line:
    """The steps; each keeps what its command said."""

    def __init__(self, opened: Shell, client: redis.Redis) -> None:
        self._shell = opened
        self._client = client
        self._said: dict[str, Any] = {}
        self._published = 0

    def run(self) -> dict[str, Any]:
        """Run the line once."""
        self._engines()
        variables = {name: os.environ[name] for name in ("PRN_STATE_DIR", "PRN_LOG_FORMAT")}
        with self._shell.beside("pipeline-worker", *_WORKER, **variables):
            wait_until(lambda: "worker.started" in self._events(), "the worker")
            self._cameras()
            self._control()
            self._swap()
            self._labels()
            wait_until(self._archived, "the archive")
            wait_until(self._shows_drift, "the drift of the engine that judges now")
            pages = self._pages()
            database = self._shell.shown.database(self._client)
        self._read()
        return {
            "said": self._said,
            "database": database,
            "pages": pages,
            "events": self._logged(),
            "archive": self._shell.shown.tree(self._shell.folder / "archive"),
            "copies": sorted(self._shell.shown.tree(self._shell.folder / "redis" / "engines")),
            "overlays": self._shell.shown.tree(self._shell.folder / "overlays"),
        }

    def _say(self, name: str, *arguments: str, given: str = "") -> dict[str, Any]:
        ended = self._shell.run(name, *arguments, given=given)
        step = self._shell.shown.text(f"{len(self._said):02} {' '.join((name, *arguments))}")
        out = "".join(sorted(ended["out"].splitlines(keepends=True)))
        self._said[step] = {**ended, "out": out, "err": _events(ended["err"])}
        return ended

    def _engines(self) -> None:
        self._versions: list[str] = []
        for number in range(2):
            path = self._shell.folder / f"line{number}.fixed"
            write_engine(path, SIDE, cost_ms=number, threshold=0.28)
            self._versions.append(self._add(path.name))
        self._promote(0)

    def _add(self, name: str) -> str:
        words = ("add", name, "--registry", "registry", "--json")
        return str(json.loads(self._shell.run("engine-registry", *words)["out"])["name"])

    def _promote(self, number: int) -> None:
        words = ("promote", self._versions[number], "--registry", "registry", "--by", "anna")
        self._shell.run("engine-registry", *words)

    def _camera(self, frames: int, *arguments: str) -> None:
        self._say("pipeline-camera", *_CAMERA, *arguments)
        self._published += frames
        wait_until(lambda: self._client.xlen("{line-1}:results") >= self._published, "verdicts")

    def _cameras(self) -> None:
        synthetic = ("--source", "synthetic:1", "--count")
        self._camera(4, *synthetic, "4", "--codec", "png", "--mm-per-pixel", "0.05,0.1")
        self._camera(2, *synthetic, "2", "--codec", "ring", "--camera", "cam-2")
        self._camera(2, *synthetic, "2", "--codec", "jpeg", "--camera", "cam-3")
        pictures = self._shell.folder / "pictures"
        pictures.mkdir()
        shade = np.full((SIDE, SIDE, 3), 40, np.uint8)
        shade[8:40, 8:40, _GREEN] = 200
        assert cv2.imwrite(str(pictures / "cup-1.png"), shade)
        (pictures / "cup-2.png").write_bytes((pictures / "cup-1.png").read_bytes()[:60])
        folder = ("--source", "pictures", "--part-pattern", r"(.*)\.png", "--camera", "cam-4")
        self._camera(2, *folder)

    def _control(self) -> None:
        wait_until(lambda: self._beat().get("frames") == self._published, "the heartbeat")
        self._say("pipeline-control", "--show", "--json")
        self._say("pipeline-control", "--threshold", "0.1", "--pixel-threshold", "0.25")
        self._wait_for_threshold(0.1)
        self._camera(1, "--source", "synthetic:2", "--count", "1")
        self._say("pipeline-control", "--pause")
        self._say("pipeline-control", "--resume", "--reset")
        self._wait_for_threshold(0.28)
        self._say("pipeline-control", "--pause", "--resume")
        self._say("pipeline-control", "--look", "--show", "--json")

    def _wait_for_threshold(self, threshold: float) -> None:
        wait_until(lambda: self._beat().get("threshold") == threshold, f"threshold {threshold}")

    def _beat(self) -> dict[str, Any]:
        shown = self._shell.run("pipeline-control", "--show", "--json")
        workers = json.loads(shown["out"].replace("<ms>", "0"))["workers"]
        return dict(workers[0]) if workers else {}

    def _swap(self) -> None:
        self._promote(1)
        wait_until(lambda: "swap.swapped" in self._events(), "the other engine")
        self._camera(4, "--source", "synthetic:3", "--count", "4")
        wait_until(lambda: "swap.held" in self._events(), "the end of the watch")
        wait_until(lambda: self._beat().get("frames") == self._published, "the heartbeat")
        wait_until(lambda: not self._client.exists("{line-1}:swap"), "the end of the lease")

    def _labels(self) -> None:
        archive = ("--archive", "archive", "--by", "anna")
        seq = ("--camera", "cam-1", "--seq")
        self._say("pipeline-label", *archive, *seq, "0", "--as", "normal", "--json")
        self._say("pipeline-label", *archive, *seq, "1", "--as", "defect", "--box", "1,2,8,9")
        self._say("pipeline-label", *archive, "--part", "no-such", "--as", "normal")
        wishes = [
            {"part": "cup-1", "as": "defect", "defect": "dent", "predicted": True},
            {"camera": "cam-2", "seq": 1, "as": "unsure"},
            {"camera": "cam-2", "as": "normal"},
            {"entry": "1-1", "as": "normal"},
            {"part": "cup-1", "as": "defect", "polygon": [[[1, 1], [9, 1], [9, 9]]]},
        ]
        many = "\n".join([*map(json.dumps, wishes), "no JSON"])
        self._say("pipeline-label", *archive, "--from", "-", "--json", given=many)
        self._say("pipeline-label", *archive, "--list", "--json", "--count", "2")

    def _archived(self) -> bool:
        kept = list((self._shell.folder / "archive").rglob("*-*.json"))
        return len(kept) >= self._published - 1  # a picture that cannot be read is not kept

    def _shows_drift(self) -> bool:
        """Return whether the metrics show what cameras sent since the swap, and that alone."""
        metrics = self._page("/metrics")
        return 'camera="cam-1"' in metrics and 'camera="cam-2"' not in metrics

    def _page(self, path: str) -> str:
        started = next(line for line in self._log() if line["event"] == "worker.started")
        url = f"http://127.0.0.1:{started['port']}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # our own server
            return str(answer.read().decode())

    def _pages(self) -> dict[str, Any]:
        pages: dict[str, Any] = {
            path: self._page(path) for path in ("/metrics", "/healthz", "/readyz")
        }
        samples = [line.rpartition(" ")[0] for line in pages["/metrics"].splitlines()]
        counted = {self._shell.shown.text(name) for name in samples if "_created" not in name}
        pages["/metrics"] = sorted(name for name in counted if not name.startswith("#"))
        return pages

    def _read(self) -> None:
        consume = ("pipeline-consume", "--from-start", "--idle-s", "1.5")
        self._say(*consume, "--program", "plc", "--mask", "--count", "4")
        overlays = ("--overlay-dir", "overlays", "--pictures", "pictures", "--only", "UNKNOWN")
        self._say(*consume, "--program", "screen", *overlays)
        self._say("pipeline-reconcile")
        self._say("pipeline-reconcile", "--json", "--camera", "cam-1")
        self._say("pipeline-reconcile", "--line", "line-2")
        self._say("pipeline-control", "--show")
        self._say("pipeline-control", "--threshold", "0.5")

    def _log(self) -> list[dict[str, Any]]:
        return list(lines(self._shell.log_path("pipeline-worker").read_text("utf-8")))

    def _events(self) -> set[str]:
        return {line["event"] for line in self._log()}

    def _logged(self) -> list[str]:
        return _events(self._shell.log_path("pipeline-worker").read_text("utf-8"))


def _events(text: str) -> list[str]:
    """Return the kinds of log lines of a text, each with its fields, and its other lines."""
    kinds: set[str] = set()
    for line in text.splitlines():
        fields = json.loads(line) if line.startswith("{") else None
        if fields is None:
            kinds.add(line)
        elif fields["event"] not in _BY_CHANCE:
            event, level = fields.pop("event"), fields.pop("level")
            kinds.add(f"{level} {event}: {', '.join(sorted(fields))}")
    return sorted(kinds)
