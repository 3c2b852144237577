import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.mqtt.broker import Broker, BrokerFiles
from pipeline.bridge.mqtt.topics import (
    MOST_AT_ONCE,
    MOST_REQUEST_BYTES,
    NO_CAMERA,
    RefusedRequest,
    Topics,
    check_root,
    read_request,
)
from pipeline.errors import SettingsError

TOPICS = Topics("plant/hall", "line-1")
NAMES = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII), fullmatch=True)
NO_FILES = BrokerFiles()


@given(NAMES)
def test_request_comes_back_as_the_camera_of_its_topic(camera: str) -> None:
    assert TOPICS.verdict(camera) == f"plant/hall/line-1/{camera}/verdict"
    assert TOPICS.requested_camera(f"plant/hall/line-1/{camera}/resend") == camera


@given(st.text())
def test_no_camera_makes_a_topic_of_another_depth_or_with_a_wildcard(camera: str) -> None:
    topics = [TOPICS.verdict(camera), TOPICS.last(camera), TOPICS.error(camera)]
    for topic in topics:
        assert topic.count("/") == 4
        assert not set(topic) & set("+#\0")


@pytest.mark.parametrize("camera", ["", "a/b", "+", "#", "a b", "$SYS"])
def test_verdict_without_a_usable_camera_has_a_topic_that_no_camera_can_have(camera: str) -> None:
    assert TOPICS.verdict(camera) == f"plant/hall/line-1/{NO_CAMERA}/verdict"


@pytest.mark.parametrize(
    "topic",
    [
        "plant/hall/line-1/cam/verdict",
        "plant/hall/line-2/cam/resend",
        "plant/hall/line-1/resend",
        "plant/hall/line-1//resend",
        "plant/hall/line-1/a/b/resend",
        f"plant/hall/line-1/{NO_CAMERA}/resend",
        "resend",
    ],
)
def test_other_topics_are_no_requests(topic: str) -> None:
    assert TOPICS.requested_camera(topic) == ""


@pytest.mark.parametrize(
    "root", ["", "/", "a/", "/a", "a//b", "a/+", "#", "$SYS", "a\0", "x" * 129]
)
def test_root_that_cannot_be_published_to_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match="--topic-root"):
        check_root(root)


@given(st.integers(0, 1 << 61), st.integers(0, MOST_AT_ONCE - 1))
def test_request_names_its_first_and_last_seq(first: int, more: int) -> None:
    request = read_request(json.dumps({"from": first, "to": first + more}).encode())
    assert (request.first, request.last, request.asked_last) == (first, first + more, first + more)
    request = read_request(json.dumps({"from": first}).encode())
    assert (request.last, request.asked_last) == (first + MOST_AT_ONCE - 1, None)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{}",
        "[]",
        "7",
        '{"to": 7}',
        '{"from": -1}',
        '{"from": 1.0}',
        '{"from": "1"}',
        '{"from": true}',
        '{"from": null}',
        '{"from": 4611686018427387904}',
        '{"from": 1, "to": 0}',
        '{"from": 1, "to": 1001}',
        '{"from": 1, "camera": "b"}',
        '{"first": 1}',
        '{"from": 1} {}',
        '{"from": 1' + " " * MOST_REQUEST_BYTES + "}",
        "[" * 200,
    ],
)
def test_other_requests_are_refused_with_a_reason(payload: str) -> None:
    with pytest.raises(RefusedRequest) as refused:
        read_request(payload.encode())
    assert 0 < len(str(refused.value)) < 400


@given(st.binary(max_size=2 * MOST_REQUEST_BYTES))
def test_any_bytes_are_a_request_or_are_refused(payload: bytes) -> None:
    try:
        request = read_request(payload)
    except RefusedRequest:
        return
    assert 0 <= request.last - request.first < MOST_AT_ONCE


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "mqtts://HOST"),
        ("http://host", "mqtts://HOST"),
        ("mqtts://", "mqtts://HOST"),
        ("mqtts://u:p@host", "--broker-user"),
        ("mqtts://host/topic", "--topic-root"),
        ("mqtts://host:x", "--url"),
        ("mqtt://10.0.0.1", "--allow-plain-mqtt"),
        ("mqtt://localhost.plant", "--allow-plain-mqtt"),
    ],
)
def test_url_that_cannot_be_right_is_refused(url: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Broker.from_url(url, NO_FILES)


def test_plain_mqtt_stays_on_this_machine_unless_its_flag_allows_more() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        broker = Broker.from_url(f"mqtt://{host}", NO_FILES)
        assert (broker.port, broker.tls, broker.is_exposed) == (1883, None, False)
    assert Broker.from_url("mqtt://10.0.0.1:99", NO_FILES, allow_plain=True).is_exposed
    secret = Broker.from_url("mqtts://10.0.0.1", NO_FILES)
    assert (secret.port, secret.is_exposed) == (8883, False)


@pytest.mark.parametrize(
    ("files", "url", "named"),
    [
        (BrokerFiles(ca=Path("ca")), "mqtt://localhost", "mqtts"),
        (BrokerFiles(ca=Path("/no/ca")), "mqtts://host", "--ca-file"),
        (BrokerFiles(key=Path("key")), "mqtts://host", "--client-cert"),
        (BrokerFiles(password=Path("password")), "mqtts://host", "--broker-user"),
    ],
)
def test_files_that_do_not_fit_are_refused(files: BrokerFiles, url: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Broker.from_url(url, files)
