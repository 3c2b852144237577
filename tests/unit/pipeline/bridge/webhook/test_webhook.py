import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.bridge import report_at
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from pipeline.bridge.webhook.face import message_id, message_of
from pipeline.bridge.webhook.parked import ParkedFile
from pipeline.bridge.webhook.post import Reaction, Receiver, reply_of
from pipeline.bridge.webhook.signature import read_secret, sign
from pipeline.errors import SettingsError


@given(st.binary(min_size=24, max_size=64), st.integers(0, 10**9), st.integers())
def test_signature_is_that_of_the_standard(key: bytes, number: int, value: int) -> None:
    body = json.dumps({"value": value}).encode()
    now_s = int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": f"line:{number}-0",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign(key, f"line:{number}-0", now_s, body),
    }
    secret = "whsec_" + base64.b64encode(key).decode()
    assert Webhook(secret).verify(body, headers) == {"value": value}


@pytest.mark.parametrize(
    "text", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "whsec_" + "A" * 400, "\xff\xfe"]
)
def test_file_without_a_secret_is_refused_and_never_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text.encode("latin-1") + b"\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError) as raised:
        read_secret(path)
    assert "AAAA" not in str(raised.value)
    assert "c2hv" not in str(raised.value)


def test_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    key = bytes(range(32))
    path.write_bytes(b"whsec_" + base64.b64encode(key) + b"\nnotes\n")
    path.chmod(0o600)
    assert read_secret(path) == key


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Reaction.TAKEN),
        (204, Reaction.TAKEN),
        (301, Reaction.LATER),
        (308, Reaction.LATER),
        (400, Reaction.REFUSED),
        (401, Reaction.REFUSED),
        (410, Reaction.REFUSED),
        (408, Reaction.LATER),
        (425, Reaction.LATER),
        (429, Reaction.LATER),
        (500, Reaction.LATER),
        (503, Reaction.LATER),
        (999, Reaction.LATER),
        (102, Reaction.LATER),
    ],
)
def test_each_status_is_taken_repeated_or_refused(status: int, answer: Reaction) -> None:
    assert reply_of(status).answer is answer


@pytest.mark.parametrize(
    ("asked", "wait_s"), [("7", 7.0), ("99999", 300.0), ("soon", 0.0), (None, 0.0), ("9" * 50, 0.0)]
)
def test_receiver_may_ask_to_wait_for_five_minutes_at_most(
    asked: str | None, wait_s: float
) -> None:
    assert reply_of(503, asked).wait_s == wait_s


@pytest.mark.parametrize(
    "url", ["", "ftp://host/", "https://", "https://u:p@host/", "http://host/", "https://host:x/"]
)
def test_url_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="--url"):
        Receiver.from_url(url, allow_http=False, ca_file=None)


def test_http_is_allowed_by_its_own_flag_only() -> None:
    assert Receiver.from_url("http://host/a?b=1", allow_http=True, ca_file=None).target == "/a?b=1"
    assert Receiver.from_url("https://host", allow_http=False, ca_file=None).tls is not None


def test_message_past_its_deadline_is_historical() -> None:
    report = report_at(7, due_ms=100)
    assert message_of(report, 99.0)["data"]["historical"] is False
    assert message_of(report, 100.0)["data"]["historical"] is True
    assert message_of(report, None)["data"]["historical"] is True
    assert message_id(report) == "line:cam-1-7"


def test_parked_file_keeps_whole_lines_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "parked.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n{"unfin')
    parked = ParkedFile(path, 3)
    assert (parked.lines, parked.is_full) == (2, False)
    parked.add({"id": "c"})
    assert parked.is_full
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b", "c"]
    path.write_bytes(b"")
    assert not parked.is_full
    parked.close()
