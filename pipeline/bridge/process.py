"""`pipeline-bridge`: one process, one target."""

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack

from pipeline.bridge.face import Face
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.modbus.layout import csv_map
from pipeline.bridge.pump import Pump
from pipeline.bridge.settings import BridgeSettings
from pipeline.consumer import Verdicts
from pipeline.errors import ConnectionLost
from pipeline.frames import Verdict
from pipeline.logs import library_lines, start_logs
from pipeline.signals import stopped_by_signals
from pipeline.telemetry import served

Clock = Callable[[], float | None]  # Redis's time, ms since the epoch
_log = logging.getLogger(__name__)


def _modbus(settings: BridgeSettings, now_ms: Clock) -> Face:
    from pipeline.bridge.modbus.face import modbus_face  # noqa: PLC0415  # needs its extra

    return modbus_face(
        settings.camera_names(),
        settings.address(),
        settings.networks(),
        settings.word_order,
        settings.freshness(),
        settings.plc_timeout_ms / 1e3,
        now_ms,
    )


def _webhook(settings: BridgeSettings, now_ms: Clock) -> Face:
    from pipeline.bridge.webhook.face import WebhookFace  # noqa: PLC0415
    from pipeline.bridge.webhook.parked import ParkedFile  # noqa: PLC0415
    from pipeline.bridge.webhook.post import Poster, Receiver  # noqa: PLC0415
    from pipeline.bridge.webhook.signature import read_secret  # noqa: PLC0415

    receiver = Receiver.from_url(
        settings.url, allow_http=settings.allow_http, ca_file=settings.ca_file
    )
    if receiver.tls is None:
        why = "verdicts are sent without encryption (--allow-http): anyone on the way can read them"
        _log.warning("webhook.plain_text", extra={"why": why})
    poster = Poster(receiver, read_secret(settings.secret_path()))
    return WebhookFace(poster, ParkedFile(settings.parked_path(), settings.parked_most), now_ms)


def _opcua(settings: BridgeSettings, now_ms: Clock) -> Face:
    # security is the first: it says what is missing
    from pipeline.bridge.opcua.security import SecurityFolder, read_users  # noqa: PLC0415, I001
    from pipeline.bridge.opcua.face import opcua_face  # noqa: PLC0415
    from pipeline.bridge.opcua.server import Protection  # noqa: PLC0415

    protection = Protection(
        SecurityFolder(settings.security_path()),
        read_users(settings.users_path()),
        settings.reader(),
        settings.insecure,
    )
    return opcua_face(
        settings.camera_names(),
        settings.address(),
        protection,
        settings.freshness(),
        settings.plc_timeout_ms / 1e3,
        now_ms,
    )


def _mqtt(settings: BridgeSettings, line: "BridgedLine") -> Face:
    from pipeline.bridge.mqtt.broker import Broker, BrokerFiles  # noqa: PLC0415
    from pipeline.bridge.mqtt.face import LineReading, MqttFace  # noqa: PLC0415  # needs its extra
    from pipeline.bridge.mqtt.topics import Topics  # noqa: PLC0415

    files = BrokerFiles(
        settings.ca_file, settings.client_cert, settings.client_key, settings.broker_password_file
    )
    broker = Broker.from_url(
        settings.url, files, user=settings.broker_user, allow_plain=settings.allow_plain_mqtt
    )
    if broker.is_exposed:
        why = "verdicts and password are sent without encryption (--allow-plain-mqtt)"
        _log.warning("mqtt.plain_text", extra={"why": why})
    topics = Topics(settings.topic_root, settings.line)
    return MqttFace(broker, topics, settings.reader(), LineReading(line, line.kept))


FACES: dict[str, Callable[[BridgeSettings, "BridgedLine"], Face]] = {
    "modbus": _modbus,
    "mqtt": _mqtt,
    "opcua": _opcua,
    "webhook": _webhook,
}


class BridgedLine:
    """What a face may ask of its line, once there are verdicts to ask; called for Redis's time."""

    def __init__(self) -> None:
        self.verdicts: Verdicts | None = None

    def __call__(self) -> float | None:
        """Return Redis's time, ms since the epoch; None before the first answer."""
        return None if self.verdicts is None else self.verdicts.redis_ms()

    def kept(self, before: str) -> list[Verdict]:
        """Return a page of the verdicts that the line still keeps, as `Verdicts.kept` does.

        Raises:
            PipelineError: Redis does not answer, or was never reached yet.
        """
        if self.verdicts is None:
            raise ConnectionLost("the line's Redis was not reached yet")
        return self.verdicts.kept(before)


def run(settings: BridgeSettings) -> int:
    """Send verdicts until a signal."""
    if settings.print_map:
        sys.stdout.write(csv_map(settings.camera_names(), settings.word_order))
        return 0
    start_logs(settings.log_level, settings.log_format)
    line = BridgedLine()
    face = FACES[settings.to](settings, line)  # what it lacks is said at once
    with library_lines(settings.log_format), ExitStack() as opened:
        opened.callback(face.stop)
        face.start()
        _serve(settings, face, line, opened)
    return 0


def _serve(settings: BridgeSettings, face: Face, line: BridgedLine, opened: ExitStack) -> None:
    metrics = BridgeMetrics(settings.line, settings.to)
    connection = opened.enter_context(settings.connect())
    verdicts = Verdicts(
        connection,
        settings.line,
        settings.reader(),
        from_start=settings.from_start,
        books=settings.books,
    )
    opened.callback(verdicts.close)
    line.verdicts = verdicts
    pump = Pump(verdicts, face, metrics, settings.freshness(), settings.stop_rule())
    page = served(metrics, settings.host, settings.port, face.failure, pump.not_ready)
    port = opened.enter_context(page)
    fields = {"to": settings.to, "program": settings.reader(), "port": port}
    _log.info("bridge.started", extra={"line": settings.line, **fields})
    with stopped_by_signals(verdicts.stop):
        pump.run()
    verdicts.check()
