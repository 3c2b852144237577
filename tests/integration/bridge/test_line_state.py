from pathlib import Path

from rigs.line import Plant
from rigs.topology import wait_until

from pipeline.consumer import Consumer
from pipeline.control import WorkerStatus
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.control import Controls
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
from pipeline.streams.keys import Keys
from pipeline.wire import encode_control, encode_report

REPORT = {"engine": "prn", "version": "3", "sha256": "ab", "misfit": True}


def test_program_sees_workers_pause_and_the_clock_of_redis(
    client: Client, line: str, url: str
) -> None:
    plant = Plant(client, line)
    plant.worker("a").send_heartbeat(encode_report(REPORT), 60_000)
    client.set(Keys(line).worker("b"), b"\xc1")  # of a later release
    with Consumer(line, "plc", redis_url=url) as verdicts:
        assert verdicts.line_state().redis_ms is None
        wait_until(lambda: len(verdicts.line_state().workers) == 2)
        state = verdicts.line_state()
        assert state.workers == (
            WorkerStatus("a", "prn", "3", "ab", misfit=True),
            WorkerStatus("b"),
        )
        assert not state.paused
        seconds, microseconds = client.time()
        ahead_ms = (verdicts.redis_ms() or 0.0) - (seconds * 1e3 + microseconds / 1e3)
        assert abs(ahead_ms) < 2000
        Controls(client, line).send(encode_control("pause"))
        wait_until(lambda: verdicts.line_state().paused)
        client.delete(Keys(line).worker("a"))
        wait_until(lambda: [worker.name for worker in verdicts.line_state().workers] == ["b"])


def test_silence_of_redis_grows_while_it_is_away_and_ends_when_it_is_back(tmp_path: Path) -> None:
    server = find_server()
    with embedded_url(tmp_path, server=server) as url:
        client = open_client(Access(url))
        with Consumer("line", "plc", redis_url=url) as verdicts:
            wait_until(lambda: verdicts.line_state().redis_silence_s < 1)
            stop(tmp_path)
            wait_until(lambda: verdicts.line_state().redis_silence_s > 1.5)
            revive(tmp_path, server=server)
            wait_until(lambda: verdicts.line_state().redis_silence_s < 1)
        client.close()
