"""A password that is replaced while a program is connected, in the order that the docs give."""

from pathlib import Path

import pytest
import redis
from rigs.topology import Server

from pipeline.errors import RedisUnfit
from pipeline.streams.connect import Access, translated
from pipeline.streams.connection import open_connection


def test_program_goes_on_under_the_new_password(server: Server, tmp_path: Path) -> None:
    port = server()
    admin = redis.Redis(port=port, protocol=2)
    admin.execute_command("ACL SETUSER", "line", "on", ">old", "~*", "&*", "+@all")
    path = tmp_path / "password"
    path.write_text("old\n")
    access = Access(f"redis://127.0.0.1:{port}", "line", password_file=path)
    with open_connection(access, tmp_path) as connection:

        def ping() -> bool:
            with translated():
                return bool(connection.client.ping())

        admin.execute_command("ACL SETUSER", "line", ">new")
        path.write_text("new\n")
        admin.execute_command("ACL SETUSER", "line", "<old")
        assert ping()  # a connection outlives its password
        admin.execute_command("CLIENT KILL", "USER", "line")
        assert connection.retry(ping, lambda: False)
        path.write_text("wrong\n")
        admin.execute_command("CLIENT KILL", "USER", "line")
        with pytest.raises(RedisUnfit, match="--redis-password-file"):
            connection.retry(ping, lambda: False)
    admin.close()
