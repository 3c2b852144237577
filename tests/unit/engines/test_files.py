import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from inputs.odd_files import ODD, make_odd

from engines.files import (
    file_sha256,
    locked,
    open_regular,
    parse_json,
    read_file,
    try_lock,
    unlock,
    wait_for_lock,
)


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


@pytest.fixture(params=["folder", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return tmp_path
    return tmp_path / ".lock"


def test_held_lock_is_refused_when_the_wait_is_over(path: Path) -> None:
    with (
        locked(path),
        pytest.raises(BlockingIOError, match=f"held {path} for 0 s"),
        locked(path, wait_s=0),
    ):
        pytest.fail("the lock is held")
    with locked(path, wait_s=0):
        assert path.exists()


def test_lock_is_freed_when_its_holder_fails(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path, wait_s=0):
        pass


@pytest.mark.parametrize("wait_s", [30.0, float("inf")])
def test_lock_is_taken_as_soon_as_it_is_free(path: Path, wait_s: float) -> None:
    taken = threading.Event()

    def take() -> None:
        with locked(path, wait_s):
            taken.set()

    waiting = threading.Thread(target=take)
    with locked(path):
        waiting.start()
        assert not taken.wait(0.1)
    waiting.join()
    assert taken.is_set()


def test_lock_keeps_what_is_written_in_its_file(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("7\n")
    with locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / ".lock").read_text() == "7\n"


def test_lock_of_another_user_is_taken_without_writing(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch(mode=0o444)
    with locked(lock), pytest.raises(BlockingIOError), locked(lock, wait_s=0):
        pytest.fail("the lock is held")


def test_shared_locks_stand_beside_each_other_and_keep_an_exclusive_one_out(
    tmp_path: Path,
) -> None:
    first, second, third = (os.open(tmp_path, os.O_RDONLY) for _ in range(3))
    try:
        wait_for_lock(first, shared=True)
        assert try_lock(second, shared=True)
        assert not try_lock(third)
        unlock(first)
        unlock(second)
        assert try_lock(third)
        assert not try_lock(first, shared=True)
    finally:
        for each in (first, second, third):
            os.close(each)


def test_no_other_module_locks() -> None:
    root = Path(__file__).parents[3]
    modules = [
        path
        for package in ("engines", "pipeline", "trainer")
        for path in (root / package).rglob("*.py")
        if "fcntl" in path.read_text("utf-8")
    ]
    assert modules == [root / "engines/files.py"]


def test_written_file_is_synchronised_then_renamed_then_its_folder_is_synchronised(
    tmp_path: Path,
) -> None:
    watched = (
        "import sys\nfrom pathlib import Path\nfrom engines.files import write_atomic\n"
        "shown = {'open': lambda path, *_: str(path), 'os.rename': lambda old, new, *_: str(new)}\n"
        "sys.addaudithook(lambda event, values: event in shown and "
        "print(event, shown[event](*values)))\n"
        "write_atomic(Path(sys.argv[1]) / 'file', b'12345')\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", watched, tmp_path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[0].startswith(f"open {tmp_path}/.file.")
    assert said[1:] == [f"os.rename {tmp_path}/file", f"open {tmp_path}"]
    assert (tmp_path / "file").read_bytes() == b"12345"
