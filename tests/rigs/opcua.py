"""A bridge to OPC UA with a user and a client that it trusts."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncua.crypto.cert_gen import (
    dump_private_key_as_pem,
    generate_private_key,
    generate_self_signed_app_certificate,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_face import GateFace
from pipeline.bridge.opcua.face import opcua_face
from pipeline.bridge.opcua.security import SecurityFolder, Users
from pipeline.bridge.opcua.server import Protection
from rigs.bridge import Bridge, Clock, bridge
from rigs.line import Plant

USER, PASSWORD = "plc", "conveyor belt"
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A client's certificate and key."""

    uri: str
    certificate: Path
    key: Path


def identity(folder: Path, name: str) -> Identity:
    """Make a certificate for a client."""
    uri, key = f"urn:test:{name}", generate_private_key()
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
    use = [ExtendedKeyUsageOID.CLIENT_AUTH]
    made = generate_self_signed_app_certificate(key, name, {}, names, extended=use)
    certificate, key_file = folder / f"{name}.der", folder / f"{name}.pem"
    certificate.write_bytes(made.public_bytes(Encoding.DER))
    key_file.write_bytes(dump_private_key_as_pem(key))
    return Identity(uri, certificate, key_file)


def trust(folder: SecurityFolder, client: Identity) -> None:
    """Trust a client, as a person does."""
    folder.trusted.mkdir(parents=True, exist_ok=True)
    (folder.trusted / client.certificate.name).write_bytes(client.certificate.read_bytes())


@contextmanager
def opcua_bridge(
    plant: Plant,
    url: str,
    folder: Path,
    *,
    margin_ms: float = 0.0,
    cameras: tuple[str, ...] = ("cam", "side"),
    insecure: bool = False,
) -> Iterator[tuple[Bridge, str]]:
    """Run a bridge; returns it and where it listens."""
    freshness = Freshness(margin_ms)
    protection = Protection(
        SecurityFolder(folder), Users({USER: PASSWORD}), "bridge-opcua", insecure
    )

    def face_of(now_ms: Clock) -> GateFace:
        return opcua_face(cameras, ("127.0.0.1", 0), protection, freshness, 0.5, now_ms)

    with bridge(plant, url, face_of, freshness=freshness) as running:
        assert isinstance(running.face, GateFace)
        yield running, f"opc.tcp://127.0.0.1:{running.face.port}"
