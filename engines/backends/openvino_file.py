"""One file of an OpenVINO network: a ZIP, not compressed, of `network.xml` and `network.bin`.

OpenVINO itself writes two files. One file needs a single hash, and copying cannot separate it.
"""

import io
import zipfile
from pathlib import Path

from engines.errors import ManifestError

SUFFIX = ".openvino"
MAX_BYTES = 2 << 30
_ENCRYPTED = 1  # flag bit of a ZIP entry
_MEMBERS = ("network.xml", "network.bin")


def pack_network(xml: bytes, weights: bytes) -> bytes:
    """Return the content of the file; the same network gives the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in zip(_MEMBERS, (xml, weights), strict=True):
            archive.writestr(zipfile.ZipInfo(name), content)  # no date
    return packed.getvalue()


def unpack_network(path: Path) -> tuple[bytes, bytes]:
    """Read the network and its weights.

    Raises:
        ManifestError: it is not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(path, entries)
            xml, weights = (archive.read(entry) for entry in entries)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ManifestError(f"{path} is not a {SUFFIX} file ({error}): build it again") from error
    return xml, weights


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a ZIP that would unpack to other files, or to more bytes."""
    names = tuple(entry.filename for entry in entries)
    if names != _MEMBERS:
        raise ManifestError(f"{path} holds {list(names)[:4]}, expected {list(_MEMBERS)}")
    stored = all(
        entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _ENCRYPTED
        for entry in entries
    )
    if not stored or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ManifestError(
            f"{path} is compressed, encrypted or larger than {MAX_BYTES} bytes: not written by us"
        )
