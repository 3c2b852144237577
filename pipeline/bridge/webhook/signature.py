"""The signature of Standard Webhooks 1.0: HMAC-SHA256 of id, timestamp and body."""

import base64
import binascii
import hmac
from pathlib import Path

from pipeline.errors import SettingsError
from pipeline.streams.address import check_password_file

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64  # of a key, as the standard has it
_MOST_CHARS = 200


def read_secret(path: Path) -> bytes:
    """Return the key in the first line of a file: `whsec_` and base64 of 24 to 64 bytes.

    Raises:
        SettingsError: the file cannot be read, or holds something else, which is never quoted.
    """
    check_password_file(path)
    with path.open("rb") as file:
        line = file.readline(_MOST_CHARS).strip()
    try:
        key = base64.b64decode(line.removeprefix(PREFIX.encode()), validate=True)
    except binascii.Error:
        key = b""
    if not line.startswith(PREFIX.encode()) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise SettingsError(
            f"the first line of {path} is no signing secret: {PREFIX} and {LEAST_BYTES} to "
            f"{MOST_BYTES} bytes in base64, as from: "
            f'echo "{PREFIX}$(head -c 32 /dev/urandom | base64)"'
        )
    return key


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
