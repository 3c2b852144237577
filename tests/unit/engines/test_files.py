from pathlib import Path

import pytest
from inputs.odd_files import ODD, make_odd

from engines.files import file_sha256, open_regular, parse_json, read_file


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = make_odd(kind, tmp_path / "odd")
    for read in (open_regular, file_sha256, lambda odd: read_file(odd, 100)):
        with pytest.raises(OSError, match=str(path)):
            read(path)


def test_file_is_read_up_to_the_limit_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="file of 5 bytes, limit 4"):
        read_file(tmp_path / "link", 4)


def test_file_of_unknown_size_is_read_no_further_than_the_limit() -> None:
    endless = Path("/proc/self/status")  # says 0 bytes and has more
    with pytest.raises(OSError, match="limit 10"):
        read_file(endless, 10)
    assert read_file(endless, 1 << 16).startswith(b"Name:")


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"{"])
def test_json_that_cannot_be_read_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any message will do
        parse_json(content)
