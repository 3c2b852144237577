"""A real MQTT broker, and its own clients as programs that are none of ours."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigs.missing import missing
from rigs.tls import Authority
from rigs.topology import free_port, wait_until

USER, PASSWORD = "bridge", "only-for-tests"


def program(name: str) -> str:
    """Find a program of mosquitto; where it is missing, fail in CI and skip elsewhere."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        missing(f"no {name}: apt-get install mosquitto mosquitto-clients")
    return str(found)


@dataclass
class Mosquitto:
    """A broker that can be killed and started again on the same port."""

    folder: Path
    lines: list[str] = field(default_factory=list)  # of its configuration
    authority: Authority | None = None  # for TLS, with a certificate asked of each client
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        path = self.folder / "mosquitto.conf"
        lines = ["per_listener_settings true", f"listener {self.port} 127.0.0.1"]
        lines += self.lines or ["allow_anonymous true"]
        if self.authority is not None:
            certificate, key = self.authority.issue("broker")
            lines += [f"cafile {self.authority.certificate}", f"certfile {certificate}"]
            lines += [f"keyfile {key}", "require_certificate true"]
        path.write_text("\n".join([*lines, "user root", ""]))
        with (self.folder / "mosquitto.log").open("ab") as log:
            words = [program("mosquitto"), "-v", "-c", str(path)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        wait_until(self._listens)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text()


@contextmanager
def mosquitto(folder: Path, *lines: str, authority: Authority | None = None) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, list(lines), authority)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def with_password(folder: Path) -> list[str]:
    """Return the configuration of a broker that knows one user."""
    path = folder / "passwords"
    words = [program("mosquitto_passwd"), "-b", "-c", str(path), USER, PASSWORD]
    subprocess.run(words, check=True, capture_output=True)
    path.chmod(0o644)
    return ["allow_anonymous false", f"password_file {path}"]


class Subscriber:
    """`mosquitto_sub`: what it printed, as topic and object."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            self.messages.append((topic, json.loads(payload)))

    def of(self, leaf: str) -> list[dict[str, Any]]:
        return [fields for topic, fields in list(self.messages) if topic.endswith(f"/{leaf}")]

    def seqs(self) -> list[int]:
        return [fields["seq"] for fields in self.of("verdict")]

    def join(self) -> None:
        self._thread.join()


@contextmanager
def subscriber(broker: Mosquitto, topic: str, *flags: str) -> Iterator[Subscriber]:
    """Listen to a topic, once the broker has granted it."""
    words = [program("mosquitto_sub"), "-p", str(broker.port), "-t", topic, "-q", "1"]
    granted = broker.log.count("Sending SUBACK to listener")
    words += ["-i", f"listener{granted}", "-F", "%t %p", *flags]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    listening = Subscriber(process)
    try:
        wait_until(lambda: broker.log.count("Sending SUBACK to listener") > granted)
        yield listening
    finally:
        process.kill()  # it may ignore a gentler signal while it connects by TLS
        process.wait()
        listening.join()
        assert process.stdout is not None
        process.stdout.close()


def publish(broker: Mosquitto, topic: str, payload: str, *flags: str) -> None:
    words = [program("mosquitto_pub"), "-p", str(broker.port), "-t", topic, "-q", "1"]
    subprocess.run([*words, "-m", payload, *flags], check=True)
