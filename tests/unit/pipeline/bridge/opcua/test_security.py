import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from rigs.opcua import identity, trust

from pipeline.bridge.opcua.security import MOST_REJECTED, SecurityFolder, read_users
from pipeline.errors import SettingsError


def test_own_certificate_is_made_once_names_this_host_and_its_key_is_private(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = SecurityFolder(tmp_path / "opcua")
    uri = folder.prepare("bridge-opcua")
    made = folder.certificate_file.read_bytes()
    assert folder.prepare("bridge-opcua") == uri
    assert folder.certificate_file.read_bytes() == made
    names = (
        x509.load_der_x509_certificate(made)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == [socket.gethostname()]
    assert stat.S_IMODE(folder.key_file.stat().st_mode) == 0o600
    assert caplog.messages.count("opcua.certificate_made") == 1
    assert caplog.messages.count("opcua.nobody_trusted") == 2


def test_stranger_is_kept_in_rejected_which_stays_bounded(tmp_path: Path) -> None:
    folder = SecurityFolder(tmp_path / "opcua")
    folder.prepare("bridge-opcua")
    known, stranger = identity(tmp_path, "known"), identity(tmp_path, "stranger")
    trust(folder, known)
    assert folder.is_trusted(known.certificate.read_bytes())
    assert not any(folder.rejected.iterdir())
    for at in range(MOST_REJECTED - 1):
        (folder.rejected / f"{at}.der").write_bytes(b"")
    assert not folder.is_trusted(stranger.certificate.read_bytes())
    assert not folder.is_trusted(b"another one")
    assert len(list(folder.rejected.iterdir())) == MOST_REJECTED


def test_users_are_read_and_only_their_password_is_right(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# the line\nplc:a:b c\nscada:other\n")
    file.chmod(0o600)
    users = read_users(file)
    assert users.knows("plc", "a:b c")
    assert users.knows("scada", "other")
    assert not users.knows("plc", "other")
    assert not users.knows("nobody", "")


@pytest.mark.parametrize("text", ["plc\n", "plc:\n", ":x\n", "plc:a\nplc:b\n", "# nobody\n"])
def test_file_that_is_none_of_users_is_refused_without_quoting_it(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        read_users(file)
    assert text.strip() not in str(refused.value)
