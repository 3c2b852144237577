"""Redis goes back to an earlier state: what it lost must be named, part by part."""

import shutil
import signal
from pathlib import Path

from pipeline.commands.proof import Report
from pipeline.drill.checks import VerdictCounter
from pipeline.drill.line import DrilledLine
from pipeline.streams.embedded import killed

_DATA = "appendonlydir"


class ServerRollback:
    """Copies the server's data at a quarter of the parts, and puts it back at half of them.

    The camera must still have frames to offer then: a camera that is done notices nothing. It may
    be ahead of the verdicts by the line's byte budget, some 1,300 frames.
    """

    def __init__(self, line: DrilledLine, state: Path, frames: int) -> None:
        self._line, self._state = line, state
        self._marks = [frames // 4, frames // 2]
        self._saved = state.with_name("earlier")
        self.lost = 0  # parts that the proof names

    def step(self, answered: int) -> None:
        """Copy or put back what is due."""
        if not self._marks or answered <= self._marks[0]:
            return
        if len(self._marks) == 1:
            self._put_back()
        elif not self._save():
            return
        self._marks.pop(0)

    def broken(self, counter: VerdictCounter, report: Report) -> list[str]:
        """Return what the proof does not say."""
        self.lost = report.rolled_frames()
        named = {seq for _, first, last in report.rolled_back for seq in range(first, last + 1)}
        unnamed = set(counter.missing()) - named
        faults = {
            "Redis was put back to an earlier state, and the proof does not say so": not named,
            f"{len(unnamed)} parts were lost that the proof does not name": unnamed,
            f"{counter.wrong} verdicts that are wrong for the part": counter.wrong,
            "the drill ended before Redis was put back": self._marks,
        }
        return [sentence for sentence, is_broken in faults.items() if is_broken]

    def _save(self) -> bool:
        """Copy the data while the server stands still; False where it was just starting."""
        if not self._line.stop_redis(signal.SIGSTOP):
            return False
        try:
            shutil.copytree(self._state / _DATA, self._saved)
        finally:
            self._line.resume_redis()
        return True

    def _put_back(self) -> None:
        """Kill the server as a machine that dies, and let a replica that is behind take over."""
        with killed(self._state):
            shutil.rmtree(self._state / _DATA)
            shutil.copytree(self._saved, self._state / _DATA)
        self._line.revive_redis()
