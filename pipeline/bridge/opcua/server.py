"""OPC UA by asyncua, in a thread of its own: encryption, users, limits."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.bridge.loop_thread import LoopThread
from pipeline.bridge.opcua.security import SecurityFolder, Users
from pipeline.errors import SettingsError

try:
    from asyncua import Server, ua
    from asyncua.common.connection import TransportLimits
    from asyncua.common.utils import ServiceError
    from asyncua.crypto.permission_rules import User, UserRole
    from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
    from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError as error:
    raise SettingsError(
        "OPC UA needs the package asyncua: pip install 'prn-line[opcua]'"
    ) from error

from pipeline.bridge.opcua.nodes import Cameras, FreshSubscriptions, LiveNodes

MOST_CONNECTIONS = 16
_MOST_SUBSCRIPTIONS = 64
_MOST_MESSAGE_BYTES, _BUFFER_BYTES = 1 << 20, 65_535
_LOGIN_S = 10.0  # a connection without a user is closed after that
_POLICIES = [
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Protection:
    """The clients that may connect, and how."""

    folder: SecurityFolder
    users: Users
    program: str  # named in the own certificate
    insecure: bool = False  # also without encryption


class _Gatekeeper:
    """Checks the certificate of a connection and the user; asyncua asks it for every session."""

    def __init__(self, protection: Protection) -> None:
        self._protection = protection
        options = CertificateValidatorOptions
        self._dates_and_uri = CertificateValidator(
            options.TIME_RANGE | options.URI | options.PEER_CLIENT
        )

    async def check_certificate(
        self, certificate: x509.Certificate, client: ua.ApplicationDescription
    ) -> None:
        """Refuse a certificate that nobody trusts, before a user is asked for."""
        if not self._protection.insecure:
            self._check(certificate.public_bytes(Encoding.DER))
            await self._dates_and_uri.validate(certificate, client)

    def get_user(
        self,
        iserver: object,
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Return a user that reads all and writes what is writable, or None.

        The certificate is that of the connection: a session may name another one, or none.
        """
        del iserver
        if certificate or not self._protection.insecure:
            self._check(certificate or b"")
        if username and password and self._protection.users.knows(username, password):
            return User(role=UserRole.User, name=username)
        _log.warning("opcua.refused", extra={"user": username or "", "why": "wrong password"})
        return None

    def _check(self, certificate: bytes) -> None:
        if not certificate or not self._protection.folder.is_trusted(certificate):
            folder = self._protection.folder
            why = f"its certificate is not in {folder.trusted}, see {folder.rejected}"
            _log.warning("opcua.refused", extra={"why": why})
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)


class _Connection(OPCUAProtocol):
    """A client, which cannot make this machine keep more than one message of the largest size."""

    _buffer: bytes

    def data_received(self, data: bytes) -> None:
        """Read what arrived; close a connection whose message is too long."""
        super().data_received(data)
        if len(self._buffer) > _MOST_MESSAGE_BYTES and self.transport is not None:
            _log.warning("opcua.refused", extra={"why": "its message is too long"})
            self._buffer = b""
            self.transport.close()


class _BinaryServer(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        return _Connection(
            iserver=self.iserver,
            policies=self._policies,
            clients=self.clients,
            closing_tasks=self.closing_tasks,
            limits=self.limits,
        )


class _Server(Server):
    async def start(self) -> None:
        """Listen with connections of our own."""
        await self._setup_server_nodes()
        await self.iserver.start()
        try:
            host, port = self._get_bind_socket_info()
            self.bserver = _BinaryServer(self.iserver, host or "", port or 0, self.limits)
            self.bserver.set_policies(self._policies)
            await self.bserver.start()
        except BaseException:
            await self.iserver.stop()
            raise


class OpcuaServer:
    """Serves the tags of cameras from a thread of its own."""

    def __init__(
        self,
        cameras: Cameras,
        names: Sequence[str],
        address: tuple[str, int],
        protection: Protection,
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            cameras: what is served.
            names: of the cameras.
            address: host and port; port 0 takes a free one.
            protection: who may connect.
        """
        self._cameras = cameras
        self._names = names
        self._address = address
        self._protection = protection
        self._loop = LoopThread("opcua")
        self._server: _Server | None = None
        self.port = 0

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: nothing can listen there, or the security folder is unusable.
        """
        uri = self._protection.folder.prepare(self._protection.program)
        try:
            self._loop.listen(self._listen(uri), self._address)
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Return whether it still serves."""
        return self._loop.alive() and self._server is not None

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop.alive() and self._server is not None:
            self._loop.wait_for(self._server.stop())
        self._server = None
        self._loop.stop()

    async def _listen(self, uri: str) -> None:
        gatekeeper = _Gatekeeper(self._protection)
        server = _Server(user_manager=gatekeeper)
        await server.init()
        await server.set_application_uri(uri)
        server.set_server_name("prn-line bridge")
        await self._protect(server, gatekeeper)
        limits = server.iserver
        limits.max_connections = MOST_CONNECTIONS
        limits.max_subscriptions = _MOST_SUBSCRIPTIONS
        limits.max_pending_activation_seconds = _LOGIN_S
        # the newest value only, and none that was sent before: an old one is of another part
        limits.max_monitored_item_queue_size = 1
        limits.max_unacked_messages_per_subscription = 0
        nodes = LiveNodes(server, self._cameras)
        await nodes.add(self._names)
        subscriptions = FreshSubscriptions(limits.aspace, limits)
        subscriptions.nodes = nodes
        limits.subscription_service = subscriptions
        limits.isession.subscription_service = subscriptions
        await server.start()
        self._server = server
        assert server.bserver is not None  # noqa: S101  # made by start
        self.port = server.bserver.port

    async def _protect(self, server: _Server, gatekeeper: _Gatekeeper) -> None:
        host, port = self._address
        shown = f"[{host}]" if ":" in host else host
        server.set_endpoint(f"opc.tcp://{shown}:{port}/")
        policies = list(_POLICIES)
        if self._protection.insecure:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        server.set_security_policy(policies)
        server.set_identity_tokens([ua.UserNameIdentityToken])
        server.set_certificate_validator(gatekeeper.check_certificate)
        server.allow_remote_admin(allow=False)
        server.limits = TransportLimits(
            _BUFFER_BYTES,
            _BUFFER_BYTES,
            _MOST_MESSAGE_BYTES // _BUFFER_BYTES + 1,
            _MOST_MESSAGE_BYTES,
        )
        await server.load_certificate(self._protection.folder.certificate_file)
        await server.load_private_key(self._protection.folder.key_file)
