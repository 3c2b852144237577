"""The parts of a Redis URL, the files that it names, and the file of a password."""

import logging
import stat
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import redis
from redis.credentials import CredentialProvider

from pipeline.errors import SettingsError

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CONTAINER_SECRETS = Path("/run/secrets")
_log = logging.getLogger(__name__)


class PasswordFile(CredentialProvider):
    """Reads the password at every connection, so that it can be changed while a line runs."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the password, after the user's name where there is one."""
        try:
            password = read_password(self._path)
        except SettingsError as error:  # it is being replaced: try again, as after a lost server
            raise redis.ConnectionError(str(error)) from error
        return (self._username, password) if self._username else (password,)


def read_password(path: Path) -> str:
    """Return the first line of a password file.

    Raises:
        SettingsError: the file cannot be read, or its first line is empty.
    """
    try:
        password = path.read_text("utf-8").partition("\n")[0].strip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the password file {path}: {error}") from error
    if not password:
        raise SettingsError(f"no password in the first line of {path}")
    return password


def check_password_file(path: Path) -> None:
    """Read a password file once, and look at who else on this machine can.

    Files below /run/secrets are passed over: a container's runtime lays them there, and there is
    nobody else in the container.

    Raises:
        SettingsError: it holds no password, or every user of this machine may replace it.
    """
    read_password(path)
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        raise SettingsError(
            f"every user of this machine can replace the password file {path}: chmod 600 {path}"
        )
    folders = path.resolve().parents
    reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
    if mode & stat.S_IROTH and reachable and _CONTAINER_SECRETS not in folders:
        why = f"every user of this machine can read it: chmod 600 {path}"
        _log.warning("password_file.exposed", extra={"file": str(path), "why": why})


def split_url(url: str) -> SplitResult:
    """Split a URL that may name several hosts, which `urlsplit` refuses if one has brackets."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SplitResult("", "", url, "", "")
    rest, _, query = rest.partition("?")
    if scheme == "unix":
        return SplitResult(scheme, "", rest, query, "")
    netloc, slash, path = rest.partition("/")
    return SplitResult(scheme.lower(), netloc, slash + path, query, "")


def user_of(url: str) -> tuple[str, bool]:
    """Return the user that a URL names, empty if none, and whether it has a password too."""
    parts = split_url(url)
    name, _, password = parts.netloc.rpartition("@")[0].partition(":")
    query = parse_qs(parts.query)
    user = unquote(name) or query.get("username", [""])[-1]
    return user, bool(password or query.get("password"))


def without_user(url: str) -> tuple[str, str | None]:
    """Return a URL of one host without its user, and that user."""
    parts = split_url(url)
    user, _, _ = parts.netloc.rpartition("@")
    name = unquote(user.partition(":")[0])
    return url.replace(f"{user}@", "", 1) if user else url, name or None


def host_port(text: str, port: int) -> tuple[str, int]:
    """Read one host, with its port if it names one; an IPv6 address stands in brackets."""
    one = urlsplit(f"//{text.strip()}")
    if not one.hostname or (":" in one.hostname and "[" not in text):
        raise ValueError(f"{text.strip()!r} is no host: HOST:PORT, [IPv6]:PORT, more after commas")
    return one.hostname, one.port or port


def check_files(query: str) -> None:
    """Look for the certificates and keys that a URL's query names.

    Raises:
        SettingsError: one is not there; redis-py would say that the server is not.
    """
    for option, names in parse_qs(query).items():
        if option in _FILES and not Path(names[-1]).is_file():
            raise SettingsError(f"{option}: no file {names[-1]}")


def check_verification(query: str) -> None:
    """Refuse a URL under which any server could pass for the line's Redis.

    Raises:
        SettingsError: it turns the check of the server's certificate or of its host name off.
    """
    for option, wanted in (("ssl_cert_reqs", "required"), ("ssl_check_hostname", "true")):
        given = parse_qs(query).get(option, [wanted])[-1]
        if given.lower() not in {wanted, "yes", "1"}:
            raise SettingsError(
                f"{option}={given} would let any server pass for this Redis: leave it out, and "
                "name the authority that signed its certificate with ?ssl_ca_certs=FILE"
            )
