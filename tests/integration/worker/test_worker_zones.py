"""A worker that judges by zones: decisions, names, and a file that changes while it works."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rigs.worker import SIDE, Bench, until

from engines.files import write_atomic
from engines.zones.read import read_zones
from pipeline.codecs import Codec, encode_pixels
from pipeline.frames import Decision, Judgement, Verdict
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.control import Controls
from pipeline.streams.keys import LineLimits
from pipeline.verdicts import verdict_fields
from pipeline.wire import decode_report, encode_report

PEAK = 0.6
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
IN_LEFT, IN_RIGHT = 2, 12
NO_REPORT = encode_report({})


@pytest.fixture
def bench(url: str, line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_connection(Access(url), tmp_path_factory.getbasetemp()) as connection:
        bench = Bench(connection, line, LineLimits())
        bench.peak_threshold = PEAK
        yield bench


def put(path: Path, *zones: dict[str, Any]) -> Path:
    write_atomic(path, json.dumps({"zones": zones}).encode())
    return path


def ignore_left(**fields: object) -> dict[str, Any]:
    return {"name": "screw", "kind": "ignore", "points": LEFT, **fields}


def offer_spot(bench: Bench, seq: int, column: int, green: int) -> None:
    """Offer a dark part with a green spot of 3 x 3 pixels."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[7:10, column : column + 3, 1] = green
    bench.offer_bytes(seq, Codec.RAW, encode_pixels(pixels, Codec.RAW))


def judgement(verdict: Verdict) -> Judgement:
    assert verdict.judgement is not None
    return verdict.judgement


def test_defect_in_an_ignore_zone_is_ok_and_outside_it_is_ng(bench: Bench, tmp_path: Path) -> None:
    bench.zones = put(tmp_path / "zones.json", ignore_left())
    with bench.worker():
        offer_spot(bench, 0, IN_LEFT, 250)
        offer_spot(bench, 1, IN_RIGHT, 250)
        verdicts = bench.wait_for(2)
    ignored, found = verdicts[0], verdicts[1]
    assert (ignored.decision, found.decision) == (Decision.OK, Decision.NG)
    assert (judgement(ignored).score, judgement(ignored).regions) == (0, ())
    assert judgement(found).score == pytest.approx(250 / 255)
    assert judgement(found).threshold == PEAK
    assert len(judgement(found).regions) == 1
    assert judgement(found).zones == read_zones(bench.zones).sha256


def test_stricter_zone_rejects_what_the_rest_accepts_and_is_named(
    bench: Bench, tmp_path: Path
) -> None:
    seal = {"name": "seal", "kind": "inspect", "points": LEFT, "image_factor": 0.5}
    bench.zones = put(
        tmp_path / "zones.json",
        {"name": "rest", "kind": "inspect"},
        {**seal, "pixel_factor": 0.5},
    )
    with bench.worker():
        offer_spot(bench, 0, IN_LEFT, 100)
        offer_spot(bench, 1, IN_RIGHT, 100)
        verdicts = bench.wait_for(2)
    strict, usual = verdicts[0], verdicts[1]
    assert (strict.decision, usual.decision) == (Decision.NG, Decision.OK)
    assert (judgement(strict).zone, judgement(usual).zone) == ("seal", "rest")
    assert [region.zone for region in judgement(strict).regions] == ["seal"]
    fields = verdict_fields(strict, with_mask=False)
    assert (fields["zone"], fields["regions"][0]["zone"]) == ("seal", "seal")


def test_changed_file_is_taken_between_batches_and_a_bad_one_is_refused(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.zones = path = put(tmp_path / "zones.json", ignore_left())
    controls = Controls(bench.connection.client, bench.line)

    def report() -> dict[str, Any]:
        return decode_report(controls.workers().get("worker", NO_REPORT))

    with bench.worker():
        first = read_zones(path).sha256
        until(lambda: report().get("zones") == first)
        path.write_text("{")
        until(lambda: "not readable JSON" in report().get("zones_refused", ""))
        assert report()["zones"] == first
        offer_spot(bench, 0, IN_LEFT, 250)
        assert bench.wait_for(1)[0].decision is Decision.OK
        put(path, ignore_left(points=[[0.6, 0], [1, 0], [1, 1], [0.6, 1]]))
        second = read_zones(path).sha256
        until(lambda: report().get("zones") == second)
        assert report()["zones_refused"] == ""
        offer_spot(bench, 1, IN_LEFT, 250)
        changed = bench.wait_for(2)[1]
    assert (changed.decision, judgement(changed).zones) == (Decision.NG, second)
    said = [record.getMessage() for record in caplog.records]
    assert [each for each in said if each.startswith("zones.")] == [
        "zones.taken",
        "zones.refused",
        "zones.taken",
    ]


def test_refused_file_is_taken_once_its_mask_picture_is_there(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.zones = path = put(tmp_path / "zones.json", ignore_left())
    masked = {"name": "screws", "kind": "ignore", "mask": "screws.png"}
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 255
    controls = Controls(bench.connection.client, bench.line)

    def report() -> dict[str, Any]:
        return decode_report(controls.workers().get("worker", NO_REPORT))

    with bench.worker():
        put(path, masked)
        until(lambda: "screws.png" in report().get("zones_refused", ""))
        write_atomic(tmp_path / "screws.png", cv2.imencode(".png", mask)[1].tobytes())
        until(lambda: report().get("zones") == read_zones(path).sha256)
    refusals = [record for record in caplog.records if record.getMessage() == "zones.refused"]
    assert len(refusals) == 1


def test_camera_that_no_zone_names_is_said(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.zones = put(tmp_path / "zones.json", ignore_left(cameras=["cam-1"]))
    with bench.worker():
        for seq in range(2):
            offer_spot(bench, seq, IN_LEFT, 250)
        assert bench.wait_for(2)[1].decision is Decision.NG
    said = [record for record in caplog.records if record.getMessage() == "zones.camera_unnamed"]
    assert [(vars(record)["camera"], vars(record)["why"]) for record in said] == [
        ("cam", "zones name cam-1: is the name right?")
    ]


def test_without_zones_a_verdict_says_nothing_of_them(bench: Bench) -> None:
    with bench.worker():
        offer_spot(bench, 0, IN_LEFT, 250)
        verdict = bench.wait_for(1)[0]
    fields = verdict_fields(verdict, with_mask=False)
    assert "zone" not in fields
    assert "zones" not in fields
    assert judgement(verdict).threshold == 0.5  # the engine's own, on its own score
