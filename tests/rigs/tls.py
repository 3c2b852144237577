"""TLS before servers that have none: a certificate authority, and ports that end TLS."""

import os
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection
_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = plant
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[member]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


class Authority:
    """A plant's certificate authority, made by openssl."""

    def __init__(self, openssl: str, folder: Path) -> None:
        self._openssl = openssl
        self._folder = folder
        folder.mkdir()
        (folder / "openssl.cnf").write_text(_CONFIG)
        self.certificate = folder / "ca.pem"
        self._run(
            f"req -x509 {_KEY} -days 2 -config openssl.cnf -extensions authority"
            " -keyout ca.key -out ca.pem"
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Make a certificate for 127.0.0.1, for servers and clients; gives it and its key."""
        self._run(f"req -new {_KEY} -config openssl.cnf -keyout {name}.key -out {name}.csr")
        self._run(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            f" -extfile openssl.cnf -extensions member -out {name}.pem"
        )
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def server_context(self, *, asks_clients: bool = False) -> ssl.SSLContext:
        """What a server of this plant speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue("server"))
        if asks_clients:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _run(self, words: str) -> None:
        subprocess.run(
            [self._openssl, *words.split()], cwd=self._folder, check=True, capture_output=True
        )


@dataclass
class Front:
    """A port that ends TLS and passes on to a plain port, named when that one is there.

    Connections without TLS are passed on as they are: servers talk to each other so.
    """

    port: int
    plain_port: int = 0
    secret_connections: int = 0
    open: ExitStack = field(default_factory=ExitStack)

    def accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            self.open.callback(accepted.close)
            threading.Thread(target=self._serve, args=(accepted, context), daemon=True).start()

    def _serve(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        with suppress(OSError, ValueError), accepted:  # ValueError: closed while select waited
            if accepted.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE:
                self._pass_on(accepted)
                return
            with context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            ) as secret:
                if _shake_hands(secret):
                    self.secret_connections += 1
                    self._pass_on(secret)

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.plain_port)) as server:
            others = {client: server, server: client}
            while True:
                decrypted = isinstance(client, ssl.SSLSocket) and client.pending() > 0
                ready = [client] if decrypted else select.select(list(others), [], [])[0]
                for source in ready:
                    if not (content := source.recv(65536)):
                        return
                    others[source].sendall(content)


def _shake_hands(secret: ssl.SSLSocket) -> bool:
    """Agree on TLS, or hear the client out, so that it reads why not instead of a broken pipe."""
    try:
        secret.do_handshake()
    except ssl.SSLError:
        while os.read(secret.fileno(), 65536):
            pass
        return False
    return True


@contextmanager
def tls_front(context: ssl.SSLContext) -> Iterator[Front]:
    """Listen on a free port while the context lasts; its `plain_port` is set by the caller."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        front = Front(listening.getsockname()[1], open=stack)
        accepting = threading.Thread(target=front.accept, args=(listening, context), daemon=True)
        accepting.start()
        yield front
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
