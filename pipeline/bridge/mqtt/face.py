"""Records as JSON messages, QoS 1: in order, settled when the broker acknowledges them."""

import json
import queue
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.mqtt.broker import Broker
from pipeline.bridge.mqtt.connection import MqttConnection, Session
from pipeline.bridge.mqtt.outbox import Message, Outbox
from pipeline.bridge.mqtt.resend import Kept, Resender
from pipeline.bridge.mqtt.topics import Topics
from pipeline.bridge.records import record_fields
from pipeline.bridge.report import VerdictReport

MOST_PENDING = 64
MOST_ERRORS = 32  # answers that wait for their acknowledgement
VERSION = 1


@dataclass(frozen=True, slots=True)
class LineReading:
    """What a face may ask of its line."""

    now_ms: Callable[[], float | None]  # Redis's time
    kept: Kept


class MqttFace:
    """Publishes every report; answers requests for earlier ones."""

    gate = False
    most_pending = MOST_PENDING

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        program: str,
        line: LineReading,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Connect nowhere yet; `stop` releases everything."""
        self._topics = topics
        self._line = line
        self._state = BridgeState()
        self._epochs: dict[str, int] = {}
        self._settled: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._errors = threading.Semaphore(MOST_ERRORS)
        self._outbox = Outbox(self._wake)
        will = Message(topics.status, lambda: _json({"v": VERSION, "online": False}), retain=True)
        client_id = f"prn-{topics.line}-{program}"
        session = Session(client_id, will, topics.requests, self._put_status, self._receive)
        self._connection = MqttConnection(broker, self._outbox, session, spread)
        self._resender = Resender(
            line.kept, lambda camera: self._epochs.get(camera, 1), self._resend, self._refuse
        )

    def _wake(self) -> None:
        self._connection.wake()

    def start(self) -> None:
        """Begin to connect; a broker that is away is waited for."""
        self._connection.start()
        self._resender.start()

    def show(self, state: BridgeState) -> None:
        """Publish the line's state where it changed; the heartbeat is no part of it."""
        changed = status_fields(state) != status_fields(self._state)
        self._state = state
        if changed:
            self._put_status()

    def deliver(self, report: VerdictReport) -> Outcome:
        """Queue a report."""
        self._epochs[report.camera] = report.epoch
        self._put_verdict(report, lambda: self._settled.put((report.result_id, Outcome.DELIVERED)))
        last = partial(self._record, report, resent=False)
        self._outbox.put(Message(self._topics.last(report.camera), last, retain=True))
        return Outcome.PENDING

    def skip(self, report: VerdictReport) -> None:
        """Do nothing: records get every report."""

    def settled(self) -> Iterator[tuple[str, Outcome]]:
        """Return what the broker acknowledged."""
        while not self._settled.empty():
            yield self._settled.get()

    def requests(self) -> tuple[PlcRequest, ...]:
        """Return nothing: no receiver of records stops a line."""
        return ()

    def failure(self) -> str:
        """Return why nothing is sent any more."""
        return self._connection.failure or (
            "" if self._resender.alive else "no request is answered"
        )

    def stop(self) -> None:
        """End the connection; what was not acknowledged comes again at the next start."""
        self._resender.stop()
        self._connection.close()

    def _put_verdict(
        self, report: VerdictReport, acknowledged: Callable[[], None], *, resent: bool = False
    ) -> None:
        payload = partial(self._record, report, resent=resent)
        topic = self._topics.verdict(report.camera)
        self._outbox.put(Message(topic, payload, acknowledged=acknowledged))

    def _record(self, report: VerdictReport, *, resent: bool) -> bytes:
        fields = {"v": VERSION, **record_fields(report, self._line.now_ms())}
        return _json(fields | {"resent": True} if resent else fields)

    def _put_status(self) -> None:
        self._outbox.put(Message(self._topics.status, self._status, retain=True))

    def _status(self) -> bytes:
        return _json({"v": VERSION, "online": True, **status_fields(self._state)})

    def _receive(self, topic: str, payload: bytes) -> None:
        camera = self._topics.requested_camera(topic)
        if camera:
            self._resender.ask(camera, payload)

    def _resend(self, report: VerdictReport, acknowledged: Callable[[], None]) -> None:
        self._put_verdict(report, acknowledged, resent=True)

    def _refuse(self, camera: str, fields: dict[str, Any]) -> None:
        if not self._errors.acquire(blocking=False):
            return  # nobody takes the answers: the broker is away
        payload = partial(_json, {"v": VERSION, **fields})
        topic = self._topics.error(camera)
        self._outbox.put(Message(topic, payload, acknowledged=self._errors.release))


def status_fields(state: BridgeState) -> dict[str, Any]:
    """Return the state of the line as a client gets it."""
    return {
        "ready": state.ready,
        "paused": state.paused,
        "degraded": state.degraded,
        "error": state.error,
        "missed": state.missed,
    }


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
