"""MQTT 5 by paho: one connection after the other, each with a client of its own.

A client keeps what it has sent across connections, and lets new messages overtake it while it
connects. Here the outbox keeps everything, so that the order holds.
"""

import logging
import random
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pipeline.bridge.mqtt.broker import Broker
from pipeline.bridge.mqtt.outbox import Message, Outbox
from pipeline.errors import SettingsError
from pipeline.streams.address import read_password

try:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError as error:
    raise SettingsError("MQTT needs the package paho-mqtt: pip install 'prn-line[mqtt]'") from error

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
MOST_IN_FLIGHT = 64  # less where the broker allows less
MOST_PACKET_BYTES = 8192  # that the broker may send
KEEPALIVE_S = 10  # the broker publishes the will after one and a half times as long
_CONNECT_S = 5.0
_TICK_S = 0.5
_QOS = 1
# a person has to mend these: names of MQTT 5, 3.2.2.2
_FINAL = frozenset({
    "Bad user name or password", "Not authorized", "Banned", "Client identifier not valid",
    "Unsupported protocol version", "Bad authentication method", "QoS not supported",
    "Retain not supported",
})  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection says and hears beside the messages of the outbox."""

    client_id: str
    will: Message  # published by the broker when the connection ends, in any way
    subscription: str
    connected: Callable[[], None]
    received: Callable[[str, bytes], None]  # topic and payload; must not raise


class MqttConnection:
    """Publishes an outbox from a thread of its own, and connects again until it is closed."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        session: Session,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Connect nowhere yet; `close` releases everything."""
        self._broker = broker
        self._outbox = outbox
        self._session = session
        self._spread = spread
        self._stopping = threading.Event()
        self._failure = ""
        self._was_online = False  # since this process began
        self._online, self._progress, self._why, self._window = False, False, "", 1
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the outbox now; from any thread."""
        try:
            self._wake_in.send(b"\0")
        except (BlockingIOError, OSError):
            return  # enough wake-ups are waiting, or it is closed

    @property
    def failure(self) -> str:
        """Why nothing is sent any more, or nothing."""
        if self._failure or self._thread.is_alive() or self._thread.ident is None:
            return self._failure
        return "the connection to the broker has ended"

    def close(self) -> None:
        """End the connection; the broker publishes the will."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._wake_in.close()
        self._wake_out.close()

    def _run(self) -> None:
        tries = 0
        try:
            while not self._stopping.is_set():
                self._connect_once()
                self._outbox.disconnected()
                if self._stopping.is_set() or self._failure:
                    return
                tries = 0 if self._progress else tries + 1
                self._wait(tries)
        except Exception as error:  # noqa: BLE001  # the thread's edge: the pump raises it
            self._failure = f"the connection to the broker failed: {error!r:.200}"

    def _wait(self, tries: int) -> None:
        longest_s = min(FIRST_WAIT_S * 2 ** min(tries, 10), LONGEST_WAIT_S)
        wait_s = self._spread(longest_s / 2, longest_s)
        fields = {"why": self._why, "tries": tries, "wait_s": round(wait_s, 3)}
        _log.warning("mqtt.waiting", extra=fields)
        self._stopping.wait(wait_s)

    def _connect_once(self) -> None:
        """Connect and publish until the connection ends; `_why` tells the reason."""
        self._online, self._progress, self._why, self._window = False, False, "", 1
        try:
            client = self._client()
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MOST_PACKET_BYTES
            client.connect(self._broker.host, self._broker.port, KEEPALIVE_S, properties=properties)
        except (OSError, SettingsError) as error:  # the password file may be replaced just now
            self._why = f"{error!s:.200}" or repr(error)
            return
        try:
            while (sock := client.socket()) is not None and not self._why:
                if self._stopping.is_set():
                    _say_goodbye(client)
                    return
                self._turn(client, cast("socket.socket", sock))
            self._why = self._why or "the broker closed the connection"
        finally:
            _close(client)

    def _client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._session.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(0)  # the outbox bounds them
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        if self._broker.user:
            file = self._broker.password_file
            client.username_pw_set(self._broker.user, read_password(file) if file else None)
        will = self._session.will
        client.will_set(will.topic, will.payload(), _QOS, will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _turn(self, client: Client, sock: socket.socket) -> None:
        """Wait until there is something to read, write or publish, and do it."""
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        writing = [sock] if client.want_write() else []
        wait_s = 0.0 if buffered else _TICK_S
        readable, writable, _ = select.select([sock, self._wake_out], writing, [], wait_s)
        if buffered or sock in readable:
            client.loop_read()
        if sock in writable:
            client.loop_write()
        client.loop_misc()
        if self._wake_out in readable:
            self._wake_out.recv(4096)
        if self._online:
            self._publish(client)

    def _publish(self, client: Client) -> None:
        while not self._why and (message := self._outbox.take(self._window)) is not None:
            sent = client.publish(message.topic, message.payload(), _QOS, message.retain)
            self._outbox.sent(sent.mid, message)
            if sent.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._why = self._why or f"not sent: {sent.rc.name}"

    def _on_connect(
        self, client: Client, _: object, __: object, code: ReasonCode, given: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused(f"the broker refuses the connection: {code}", str(code))
            return
        if getattr(given, "MaximumQoS", 1) < _QOS:
            self._refused("the broker takes no QoS 1: records would be lost", "QoS not supported")
            return
        if not getattr(given, "RetainAvailable", 1):
            self._refused("the broker retains no messages", "Retain not supported")
            return
        self._window = min(MOST_IN_FLIGHT, getattr(given, "ReceiveMaximum", MOST_IN_FLIGHT))
        self._was_online = self._online = True
        _log.info("mqtt.online", extra={"host": self._broker.host, "port": self._broker.port})
        options = SubscribeOptions(qos=_QOS, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        client.subscribe(self._session.subscription, options=options)
        self._session.connected()

    def _refused(self, why: str, code: str) -> None:
        """End a process that never worked; wait where somebody may be changing a password."""
        self._why = why
        if code in _FINAL and not self._was_online:
            self._failure = why

    def _on_subscribe(
        self, _: object, __: object, ___: int, codes: list[ReasonCode], ____: object
    ) -> None:
        if any(code.is_failure for code in codes):
            why = f"{self._session.subscription}: {codes[0]}: nobody can ask for verdicts again"
            _log.error("mqtt.no_requests", extra={"why": why})

    def _on_publish(
        self, _: object, __: object, packet_id: int, code: ReasonCode, ___: object
    ) -> None:
        if code.is_failure:
            self._why = f"the broker refuses {self._outbox.topic_of(packet_id)}: {code}"
        else:
            self._progress |= self._outbox.acknowledge(packet_id)

    def _on_message(self, _: object, __: object, message: MQTTMessage) -> None:
        if not message.retain:  # a retained request would come again with every connection
            self._session.received(message.topic, bytes(message.payload))

    def _on_disconnect(
        self, _: object, __: object, ___: object, code: ReasonCode, ____: object
    ) -> None:
        self._why = self._why or f"the connection ended: {code}"


def _close(client: Client) -> None:
    """Close the socket without a farewell, unless that is done."""
    sock = client.socket()
    if sock is not None:
        sock.close()


def _say_goodbye(client: Client) -> None:
    """Ask the broker to publish the will, and disconnect."""
    client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
    while client.want_write() and (sock := client.socket()) is not None:
        _, writable, _ = select.select([], [cast("socket.socket", sock)], [], _TICK_S)
        if not writable:
            return
        client.loop_write()
