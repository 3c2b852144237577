"""TLS to Redis: the files that a URL names, and what an error of TLS asks for."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

from pipeline.errors import SettingsError

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_HINTS = {
    "CERTIFICATE_VERIFY_FAILED": "name the authority that signed it: ?ssl_ca_certs=FILE",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file of ?ssl_ca_certs= holds no certificate",
    "CERTIFICATE_REQUIRED": "it wants a client's: ?ssl_certfile=FILE&ssl_keyfile=FILE",
    "handshake operation timed out": "a port without TLS? Then redis://, not rediss://",
}


def check_files(query: str) -> None:
    """Look for the certificates and keys that a URL's query names.

    Raises:
        SettingsError: one is not there; redis-py would say that the server is not.
    """
    for option, names in parse_qs(query).items():
        if option in _FILES and not Path(names[-1]).is_file():
            raise SettingsError(f"{option}: no file {names[-1]}")


def hint(error: BaseException) -> str:
    """Give what to do about an error that TLS caused, with a colon before it; else nothing."""
    said = " ".join(map(str, _chain(error)))
    return next((f": {words}" for code, words in _HINTS.items() if code in said), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
