"""Redis goes back to an earlier state, again and again: what it lost must be named, part by part.

Each time somebody else is left to notice it: the camera that lives on, the workers beside a camera
that starts again, the workers when nothing is offered any more, and at last only the file that
`pipeline-reconcile --books` keeps.
"""

import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from pipeline.commands.proof import Report
from pipeline.commands.reconcile import reconcile
from pipeline.drill.checks import VerdictCounter
from pipeline.drill.line import LINE, DrilledLine
from pipeline.streams.connect import Client
from pipeline.streams.embedded import killed
from pipeline.streams.ledger import Ledger
from pipeline.streams.rollback.watch import RollbackWatch

NOTICED_S = 20.0  # within which a rollback must stand in the books
_POLL_S = 0.1
_DATA = "appendonlydir"
_SHARES = {"live": (0.15, 0.3), "restarted": (0.45, 0.6), "idle": (0.8, None)}
_SAID = {
    "live": "the camera lived on",
    "restarted": "the camera started again",
    "idle": "nothing more was offered",
    "away": "every program was away but for the file of reconcile --books",
}


class ServerRollbacks:
    """Copies the server's data at some marks, and puts it back at others.

    The camera may be ahead of the verdicts by the line's byte budget, some 1,300 frames: it must
    have more than those to offer at the second put-back.
    """

    def __init__(self, line: DrilledLine, state: Path, frames: int, client: Client) -> None:
        self._line, self._state, self._client = line, state, client
        self._ledger = Ledger(client, LINE)
        # by kind: the copy, and the camera's last seq then or a little later
        self._copies: dict[str, tuple[Path, int]] = {}
        self._steps = [
            (int(share * frames), name, at == 1)
            for name, shares in _SHARES.items()
            for at, share in enumerate(shares)
            if share is not None
        ]
        self._named: set[int] = set()
        self._unseen: list[str] = []
        self.done: dict[str, int] = {}  # how often by kind: parts that the books name

    def step(self, counter: VerdictCounter) -> None:
        """Copy or put back what is due."""
        if not self._steps or counter.answered <= self._steps[0][0]:
            return
        _, name, puts_back = self._steps[0]
        if not puts_back and not self._save(name):
            return
        if puts_back:
            kill = ["camera"] if name == "restarted" else []
            self._put_back(name, counter.last_seq, kill)
        self._steps.pop(0)

    def finish(self, counter: VerdictCounter) -> None:
        """Put the server back when all parts have passed, and again when nobody is left."""
        if self._steps:
            return
        self._put_back("idle", counter.last_seq, [])
        books = self._state.with_name("books.json")
        RollbackWatch(self._client, LINE, "drill", file=books).ask()
        self._copies["away"] = self._copies["restarted"]  # an older one, for something to be lost
        self._put_back("away", self._last_seq(), ["steady", "victim"], books)

    def broken(self, counter: VerdictCounter) -> list[str]:
        """Return what the proofs did not say."""
        unnamed = set(counter.missing()) - self._named
        faults = {
            f"{len(unnamed)} parts were lost that the proof does not name": unnamed,
            f"{counter.wrong} verdicts that are wrong for the part": counter.wrong,
            "the drill ended before Redis was put back each time": len(self.done) < len(_SAID),
        }
        return [*self._unseen, *(sentence for sentence, broken in faults.items() if broken)]

    def _last_seq(self) -> int:
        return self._ledger.snapshot().cameras[0].runs[-1][1]

    def _save(self, name: str) -> bool:
        """Copy the data while the server stands still; False where it was just starting."""
        if not self._line.stop_redis(signal.SIGSTOP):
            return False
        copy = self._state.with_name(f"earlier-{name}")
        try:
            shutil.copytree(self._state / _DATA, copy)
        finally:
            self._line.resume_redis()
        self._copies[name] = copy, self._last_seq()
        return True

    def _put_back(self, name: str, known: int, kill: list[str], books: Path | None = None) -> None:
        """Kill the server as a machine that dies, and let a replica that is behind take over.

        All parts up to `known` are known to somebody who lives, or to the file.
        """
        copy, saved_seq = self._copies[name]
        for role in kill:
            self._line.kill(role)
        with killed(self._state):
            shutil.rmtree(self._state / _DATA)
            shutil.copytree(copy, self._state / _DATA)
        self._line.revive_redis()
        if "camera" in kill:
            self._line.restart("camera")
        if books:
            RollbackWatch(self._client, LINE, "drill", file=books).ask()
        lost = set(range(saved_seq + 1, known + 1))
        until_s = time.monotonic() + NOTICED_S
        while not lost <= (named := _named(reconcile(self._ledger))):
            if time.monotonic() > until_s:
                self._unseen.append(
                    f"{len(lost - named)} parts that Redis lost while {_SAID[name]} "
                    "do not stand in the proof"
                )
                break
            time.sleep(_POLL_S)
        self._named |= named
        self.done[name] = len(named)


def _named(report: Report) -> set[int]:
    return set(_seqs((first, last) for _, first, last in report.rolled_back))


def _seqs(runs: Iterable[tuple[int, int]]) -> Iterable[int]:
    return (seq for first, last in runs for seq in range(first, last + 1))
