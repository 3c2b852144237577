"""A line of real processes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.backends.fixed import FixedPlan, write_fixed_engine
from pipeline.commands.subprocesses import ChildProcess, ProcessGroup, wait_until
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.ledger import Ledger

WAIT_S = 60.0
SIZE = 64


class Plant:
    """A line of real processes in a folder of its own."""

    def __init__(self, folder: Path, processes: ProcessGroup, connection: RedisConnection) -> None:
        self.folder, self.processes, self.connection = folder, processes, connection
        self.ledger = Ledger(connection.client, "line-1")

    def worker(
        self, plan: FixedPlan, *flags: str, name: str = "worker", most: int = 32
    ) -> ChildProcess:
        engine = self.folder / f"{name}.fixed"
        write_fixed_engine(engine, plan, max_batch=most)
        words = ("--engine", str(engine), "--allow-fixed-engine", *flags)
        return self.processes.start(name, "pipeline-worker", *words)

    def camera(self, *flags: str, name: str = "camera") -> ChildProcess:
        return self.processes.start(
            name,
            "pipeline-camera",
            "--source",
            "synthetic:1",
            "--variety",
            "8",
            "--size",
            f"{SIZE}x{SIZE}",
            *flags,
        )

    def answers(self) -> list[str]:
        return [result.answer for result in self.ledger.results("-", 100_000)]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.answers()) >= count, WAIT_S, f"{count} verdicts")

    def log(self, name: str) -> list[dict[str, object]]:
        lines = (self.folder / "logs" / f"{name}.log").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def plant_in(folder: Path) -> Iterator[Plant]:
    environment = {"PRN_STATE_DIR": str(folder / "redis"), "PRN_LOG_FORMAT": "json"}
    with (
        open_connection(Access(""), folder / "redis") as connection,
        ProcessGroup(folder / "logs", environment) as processes,
    ):
        yield Plant(folder, processes, connection)


def plan(**costs: float) -> FixedPlan:
    return FixedPlan(height=SIZE, width=SIZE, **costs)
