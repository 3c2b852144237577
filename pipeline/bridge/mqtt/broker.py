"""Where the broker is, and how it is told who connects."""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import SettingsError
from pipeline.streams.address import check_password_file

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """The files that a connection needs; None: it does without."""

    ca: Path | None = None  # certificates to trust, in place of the machine's
    certificate: Path | None = None  # of this client
    key: Path | None = None  # its private key; None: it lies in `certificate`
    password: Path | None = None  # in its first line


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, checked: what can be wrong without a connection is not."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    user: str = ""
    password_file: Path | None = None  # read at every connection, so that it can be changed

    @classmethod
    def from_url(
        cls, url: str, files: BrokerFiles, *, user: str = "", allow_plain: bool = False
    ) -> "Broker":
        """Read a URL and the files.

        Args:
            url: `mqtts://HOST[:PORT]` or `mqtt://HOST[:PORT]`.
            files: certificates, key and password.
            user: the name of this client at the broker.
            allow_plain: whether another machine may be reached without TLS.

        Raises:
            SettingsError: they cannot be right.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError("--url: give mqtts://HOST or mqtts://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise SettingsError("--url: no user and password; see --broker-user")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise SettingsError("--url: nothing may follow the port; topics begin at --topic-root")
        if parts.scheme == "mqtt":
            _check_plain(parts.hostname, files, allow_plain=allow_plain)
        if files.password is not None:
            if not user:
                raise SettingsError("--broker-password-file: --broker-user is needed too")
            check_password_file(files.password)
        try:
            port = parts.port or _PORTS[parts.scheme]
            tls = _tls(files) if parts.scheme == "mqtts" else None
        except (ValueError, OSError) as error:
            raise SettingsError(f"--url, --ca-file, --client-cert: {error}") from error
        return cls(parts.hostname, port, tls, user, files.password)

    @property
    def is_exposed(self) -> bool:
        """Return whether verdicts and password leave this machine without encryption."""
        return self.tls is None and not _is_loopback(self.host)


def _check_plain(host: str, files: BrokerFiles, *, allow_plain: bool) -> None:
    if files.ca or files.certificate or files.key:
        raise SettingsError("--url: certificates are of mqtts://, this is mqtt://")
    if not (allow_plain or _is_loopback(host)):
        raise SettingsError("--url: mqtt is not encrypted; give mqtts, or --allow-plain-mqtt")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _ClosedIfRefused(ssl.SSLSocket):
    """A socket that is closed where no trust is established; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # as in ssl
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls(files: BrokerFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    context.sslsocket_class = _ClosedIfRefused
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate is not None:
        # an encrypted key would be asked for on the terminal: there is nobody there
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    elif files.key is not None:
        raise SettingsError("--client-key: --client-cert is needed too")
    return context


def _no_password() -> str:
    raise SettingsError("--client-key: the key is encrypted; give one without a password")
