"""Zones files as people write them: what is taken, and one sentence for what is not."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import ZoneError
from engines.zones.read import MAX_ZONES_BYTES, read_zones, read_zones_file
from engines.zones.schema import MAX_ZONES, MaskRuns, ZoneSet

SQUARE = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]


def zone(name: str = "screw", kind: str = "ignore", **fields: object) -> dict[str, object]:
    return {"name": name, "kind": kind, "points": SQUARE, **fields}


def write(folder: Path, *zones: dict[str, Any], **fields: object) -> Path:
    path = folder / "zones.json"
    path.write_text(json.dumps({"zones": list(zones), **fields}))
    return path


def write_mask(path: Path, *shape: int, marked: bool = True) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[2:6, 1:5] = 255 * marked
    assert cv2.imwrite(str(path), mask)


def test_zones_are_read_with_their_defaults(tmp_path: Path) -> None:
    zones = read_zones(write(tmp_path, zone(cameras=["cam-1"]), zone("seal", "inspect")))
    first, second = zones.zones
    assert (first.name, first.kind, first.cameras) == ("screw", "ignore", ("cam-1",))
    assert second.points == tuple((x, y) for x, y in SQUARE)
    assert zones.of_camera("cam-2") == (second,)
    assert zones.drawn_on is None


def test_mask_picture_is_taken_whole(tmp_path: Path) -> None:
    write_mask(tmp_path / "screws.png", 20, 30)
    zones = write(tmp_path, {"name": "screws", "kind": "ignore", "mask": "screws.png"})
    found = read_zones_file(zones)
    runs = found.zones.zones[0].mask
    assert runs is not None
    assert runs.pixels().sum() == 16
    assert found.zones.drawn_on == (20, 30)
    assert found.files == (zones, tmp_path / "screws.png")


def test_hash_is_of_what_is_meant_and_not_of_how_it_is_written(tmp_path: Path) -> None:
    plain = read_zones(write(tmp_path, zone()))
    spelled = read_zones(write(tmp_path, zone(cameras=[], product=None), schema_version=1))
    other = read_zones(write(tmp_path, zone(kind="inspect")))
    assert plain.sha256 == spelled.sha256
    assert plain.sha256 != other.sha256


def test_zones_survive_a_round_trip_through_a_manifest(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", 20, 30)
    zones = read_zones(write(tmp_path, zone(), zone("m", points=[], mask="m.png"), size=[20, 30]))
    again = ZoneSet.model_validate_json(zones.model_dump_json())
    assert (again, again.sha256) == (zones, zones.sha256)


@pytest.mark.parametrize("marked", [0, 1])
def test_runs_of_a_mask_give_it_back(marked: int) -> None:
    mask = np.random.default_rng(3).random((7, 9)) < 0.5
    mask[0, 0] = mask[-1, -1] = bool(marked)
    assert (MaskRuns.of(mask).pixels() == mask).all()


def test_product_chooses_its_zones_and_those_of_all(tmp_path: Path) -> None:
    path = write(tmp_path, zone("a", product="nut"), zone("b", product="gear"), zone("c"))
    assert [each.name for each in read_zones(path, "nut").zones] == ["a", "c"]
    with pytest.raises(ZoneError, match="choose the product with --zones-product"):
        read_zones(path)
    with pytest.raises(ZoneError, match="no zone for product 'bolt': it names gear, nut"):
        read_zones(path, "bolt")


CROSSED = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]
SPIKE = [[0.1, 0.1], [0.9, 0.1], [0.4, 0.1], [0.4, 0.5]]
TWICE = [[0.1, 0.1], [0.1, 0.1], [0.9, 0.1], [0.4, 0.5]]


@pytest.mark.parametrize(
    ("zones", "fields", "why"),
    [
        ([zone(points=CROSSED)], {}, "the outline of zone 'screw' crosses or touches itself"),
        ([zone(points=SPIKE)], {}, "crosses or touches itself"),
        ([zone(points=TWICE)], {}, "crosses or touches itself"),
        ([zone(points=SQUARE[:2])], {}, "zone 'screw' has 2 points, 3 are needed"),
        ([zone(points=[*SQUARE[:3], [0.1, 1.5]])], {}, "corner at x 0.1, y 1.5, outside 0..1"),
        (
            [zone(points=[[1, 1], [9, 1], [9, 31]])],
            {"size": [30, 20]},
            "corner at x 9, y 31, outside 30x20",
        ),
        ([zone(), zone()], {}, "two zones are called 'screw'"),
        ([zone(f"z{n}") for n in range(10_000)], {}, f"10000 zones, the limit is {MAX_ZONES}"),
        ([], {}, "it holds no zone: to work without zones, leave the file out"),
        ([zone(kind="skip")], {}, "zones.0.kind: Input should be 'inspect' or 'ignore'"),
        ([zone(image_factor=0.5)], {}, "zone 'screw' is ignored: leave its factors out"),
        ([zone(kind="inspect", image_factor=0)], {}, "zones.0.image_factor: "),
        ([zone(kind="inspect", threshold=3)], {}, "zones.0.threshold: Extra inputs"),
        ([zone("a/b")], {}, "zones.0.name: String should match"),
        ([zone(mask={"size": [2, 2], "counts": [0, 4]})], {}, "has points and a mask"),
        ([zone(points=[], mask={"size": [2, 2], "counts": [5]})], {}, "do not add up to 2x2"),
        ([zone(points=[], mask={"size": [10**6, 2], "counts": [5]})], {}, "1000000x2 pixels"),
        ([zone(points=[], mask="../m.png")], {}, "mask '../m.png' is no file name"),
        ([zone(points=[], mask="absent.png")], {}, "the mask of zone 'screw': .*absent.png"),
        ([zone()], {"size": [0, 5]}, "size 0x5"),
        ([zone()], {"schema_version": 2}, "schema_version"),
    ],
)
def test_bad_zones_are_refused_in_one_sentence(
    tmp_path: Path, zones: list[dict[str, Any]], fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(ZoneError, match=why) as caught:
        read_zones(write(tmp_path, *zones, **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "zones.json"
    text = '{"zones": [{"name": "a", "kind": "ignore", "points": [[0, 0], [1, 0], [1, BAD]]}]}'
    path.write_text(text.replace("BAD", bad))
    with pytest.raises(ZoneError, match=r"zones\.0\.points\.2\.1: Input should be a finite number"):
        read_zones(path)


def test_masks_of_another_size_or_turned_are_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", 20, 30)
    write_mask(tmp_path / "turned.png", 30, 20)
    masks = [zone(name, points=[], mask=f"{name}.png") for name in ("a", "turned")]
    with pytest.raises(ZoneError, match="'turned' is 30x20, the zones are drawn on 20x30"):
        read_zones(write(tmp_path, *masks))
    with pytest.raises(ZoneError, match="'a' is 20x30, the zones are drawn on 40x60"):
        read_zones(write(tmp_path, masks[0], size=[40, 60]))


def test_mask_without_pixels_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "empty.png", 20, 30, marked=False)
    with pytest.raises(ZoneError, match=r"'a', .*empty\.png, marks no pixel"):
        read_zones(write(tmp_path, zone("a", points=[], mask="empty.png")))


def test_noise_is_no_mask(tmp_path: Path) -> None:
    noise = (np.random.default_rng(0).random((500, 500)) < 0.5).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "noise.png"), 255 * noise)
    with pytest.raises(ZoneError, match="runs of pixels, 100000 are the most: smooth it"):
        read_zones(write(tmp_path, zone("a", points=[], mask="noise.png")))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "zones.json"
    with pytest.raises(ZoneError, match="No such file"):
        read_zones(path)
    for content, why in (("[" * 99_999, "not readable JSON"), ("[]", "valid dictionary")):
        path.write_text(content)
        with pytest.raises(ZoneError, match=why):
            read_zones(path)
    path.write_bytes(b" " * (MAX_ZONES_BYTES + 1))
    with pytest.raises(ZoneError, match=f"limit {MAX_ZONES_BYTES}"):
        read_zones(path)
