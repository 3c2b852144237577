"""Servers in every arrangement, and a line that does all it can do on one."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from pipeline.commands.proof import Report
from pipeline.commands.reconcile import reconcile
from pipeline.consumer import Consumer
from pipeline.control import FROM_THE_FIRST, LineState, apply_messages
from pipeline.frames import Decision
from pipeline.streams.address import read_password
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.control import Controls
from pipeline.streams.keys import LineLimits
from pipeline.streams.server_checks import probe, server_ahead_ms
from pipeline.wire import encode_control, encode_report
from rigs.line import Plant, say

WAIT_S = 20.0
Server = Callable[..., int]  # flags -> port


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not so within {WAIT_S} s")


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True


def prove_line(access: Access, tmp_path: Path) -> Report:
    """Offer, read, answer, expire, shed, take over, consume, control and reconcile on a server."""
    with open_connection(access, tmp_path) as connection:
        plant = Plant(connection.client, "line", LineLimits(budget_bytes=600))
        plant.offer(1, 2, in_ns=40_000_000)
        dead = plant.worker("dead")
        dead.read(1, 0)
        time.sleep(0.25)
        assert plant.worker().expire() == 2
        plant.offer(*range(3, 11), shed=True)
        dead.read(1, 0)
        time.sleep(0.25)
        (taken,) = plant.worker().take_over(8)
        assert plant.worker().answer([say(taken, Decision.OK)]) == ["OK"]
        assert plant.judge(Decision.NG) == ["NG"] * 5
        controls = Controls(connection.client, "line")
        controls.send(encode_control("pause"))
        assert apply_messages(controls, LineState(), FROM_THE_FIRST)[0].paused
        plant.worker("alive").send_heartbeat(encode_report({"frames": 1}), 60_000)
        assert list(controls.workers()) == ["alive"]
        assert probe(connection.client).round_trip_ms > 0
        assert abs(server_ahead_ms(connection.client)) < WAIT_S * 1e3
        with Consumer(
            "line",
            "plc",
            redis_url=access.url,
            username=access.username,
            password=read_password(access.password_file)
            if access.password_file
            else access.password,
            from_start=True,
        ) as verdicts:
            heard = [verdicts.next(10.0) for _ in range(10)]
        assert [verdict.meta.seq for verdict in heard if verdict] == list(range(1, 11))
        plant.offer(12, camera="other")
        report = reconcile(plant.ledger())
        assert list(plant.ledger().open_headers()) != []
    assert report.broken() == []
    assert (report.offered, report.open) == (11, 1)
    return report


def raw_info(client: "redis.Redis") -> bytes:
    found = client.execute_command("CLUSTER INFO")
    return str(found).replace("': '", ":").encode()
