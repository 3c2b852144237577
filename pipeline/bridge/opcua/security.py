"""Access to the OPC UA server: its certificate, trusted client certificates, and users."""

import datetime as dt
import hashlib
import hmac
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

from engines.files import write_atomic
from pipeline.errors import SettingsError
from pipeline.streams.address import check_password_file

try:
    from asyncua.crypto.cert_gen import (
        dump_private_key_as_pem,
        generate_private_key,
        generate_self_signed_app_certificate,
    )
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError as error:
    raise SettingsError(
        "OPC UA needs the package asyncua: pip install 'prn-line[opcua]'"
    ) from error

MOST_REJECTED = 50  # files: a stranger must not fill the disk
_MOST_TRUSTED = 1000
_MOST_CERTIFICATE_BYTES = 16_384
_MOST_USERS, _MOST_LINE = 100, 500
_DAYS, _WARN_DAYS = 5 * 365, 30
_log = logging.getLogger(__name__)


class SecurityFolder:
    """The folder with `own.der`, `own.key.pem`, `trusted/` and `rejected/`."""

    def __init__(self, folder: Path) -> None:
        self.certificate_file = folder / "own.der"
        self.key_file = folder / "own.key.pem"
        self.trusted = folder / "trusted"
        self.rejected = folder / "rejected"
        self._folder = folder

    def prepare(self, program: str) -> str:
        """Make what is missing; return the application URI that the own certificate names.

        Raises:
            SettingsError: the folder cannot be written, or a certificate in it is invalid.
        """
        try:
            for folder in (self._folder, self.trusted, self.rejected):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.certificate_file.is_file() and self.key_file.is_file()):
                self._make_own(program)
            uri = self._check_own()
        except (OSError, ValueError, x509.ExtensionNotFound, IndexError) as error:
            raise SettingsError(f"--security-dir {self._folder}: {error}") from error
        if not any(self._trusted_files()):
            why = "no client can connect: start the client once, then move its certificate from "
            why += f"{self.rejected} to {self.trusted}; no restart is needed"
            _log.warning("opcua.nobody_trusted", extra={"why": why})
        return uri

    def _make_own(self, program: str) -> None:
        host = socket.gethostname()
        key = generate_private_key()
        names = [
            x509.UniformResourceIdentifier(f"urn:{host}:prn-line:{program}"),
            x509.DNSName(host),
        ]
        certificate = generate_self_signed_app_certificate(
            key,
            f"prn-line {program}",
            {},
            names,
            extended=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            days=_DAYS,
        )
        write_atomic(self.key_file, dump_private_key_as_pem(key), private=True)
        write_atomic(self.certificate_file, certificate.public_bytes(Encoding.DER))
        _log.warning("opcua.certificate_made", extra={"file": str(self.certificate_file)})

    def _check_own(self) -> str:
        own = x509.load_der_x509_certificate(self.certificate_file.read_bytes())
        left = own.not_valid_after_utc - dt.datetime.now(dt.UTC)
        if left.days < _WARN_DAYS:
            why = f"valid for {left.days} days more: delete it and its key, trust the new one"
            fields = {"file": str(self.certificate_file), "why": why}
            _log.error("opcua.certificate_expires", extra=fields)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.UniformResourceIdentifier)[0]

    def _trusted_files(self) -> Iterator[Path]:
        for at, file in enumerate(sorted(self.trusted.iterdir())):
            if at < _MOST_TRUSTED and file.suffix.lower() in {".der", ".pem", ".crt", ".cer"}:
                yield file

    def is_trusted(self, certificate: bytes) -> bool:
        """Return whether a client's certificate, in DER, lies in `trusted` and is valid today.

        One that does not is put into `rejected`, for a person to move it.
        """
        for file in self._trusted_files():
            if hmac.compare_digest(_read_certificate(file), certificate):
                return _is_valid(certificate)
        self._reject(certificate)
        return False

    def _reject(self, certificate: bytes) -> None:
        if len(certificate) > _MOST_CERTIFICATE_BYTES:
            return
        file = self.rejected / f"{hashlib.sha256(certificate).hexdigest()[:32]}.der"
        if file.exists():
            return
        if len(list(self.rejected.iterdir())) >= MOST_REJECTED:
            why = f"{self.rejected} is full: the certificate of this client was not kept"
            _log.warning("opcua.rejected_full", extra={"why": why})
            return
        try:
            write_atomic(file, certificate)
        except OSError as error:
            _log.warning("opcua.rejected_full", extra={"why": str(error)})


def _read_certificate(file: Path) -> bytes:
    """Return a certificate in DER; nothing where the file holds none."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_CERTIFICATE_BYTES)
        if content.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    except (OSError, ValueError) as error:
        fields = {"file": str(file), "why": str(error)}
        _log.warning("opcua.unreadable_certificate", extra=fields)
        return b""
    return content


def _is_valid(certificate: bytes) -> bool:
    now = dt.datetime.now(dt.UTC)
    parsed = x509.load_der_x509_certificate(certificate)
    return parsed.not_valid_before_utc <= now <= parsed.not_valid_after_utc


class Users:
    """Names and passwords, from a file."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._digests = {name: _digest(password) for name, password in passwords.items()}

    def knows(self, name: str, password: str) -> bool:
        """Return whether this is a user's password; takes the same time for any name."""
        wanted = self._digests.get(name, b"\0" * hashlib.sha256().digest_size)
        return hmac.compare_digest(wanted, _digest(password))


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()


def read_users(path: Path) -> Users:
    """Return the users in a file: one `name:password` a line, `#` begins a comment line.

    Raises:
        SettingsError: the file cannot be read or holds something else, which is never quoted.
    """
    check_password_file(path)
    passwords: dict[str, str] = {}
    with path.open("rb") as file:
        lines = file.read(_MOST_USERS * _MOST_LINE).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not (name and colon and password) or name in passwords:
            raise SettingsError(f"{path}, line {number}: not one user as name:password")
        passwords[name] = password
    if not 1 <= len(passwords) <= _MOST_USERS:
        raise SettingsError(f"{path} holds {len(passwords)} users: wanted 1 to {_MOST_USERS}")
    return Users(passwords)
