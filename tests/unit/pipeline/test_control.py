import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.control import ByHand, Standing, apply

FIRST, SECOND = ("a" * 64,), ("b" * 64,)
STANDING = Standing(ByHand(0.5, FIRST), ByHand(0.4, FIRST))
thresholds = st.floats(allow_nan=False, allow_infinity=False)
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("0.5") | st.just("threshold")
)


@given(thresholds, st.floats(0, 1))
def test_threshold_message_sets_what_it_names(image: float, pixel: float) -> None:
    message = {"kind": "threshold", "engines": list(SECOND)}
    of_image, of_pixel = ByHand(image, SECOND), ByHand(pixel, SECOND)
    assert apply(STANDING, message | {"image": image}) == replace(STANDING, threshold=of_image)
    assert apply(STANDING, message | {"pixel": pixel}) == replace(STANDING, pixel=of_pixel)
    assert apply(STANDING, message | {"image": image, "pixel": pixel}) == Standing(
        of_image, of_pixel
    )


def test_threshold_holds_for_the_engines_that_it_was_set_for_alone() -> None:
    standing = Standing(ByHand(0.5, FIRST + SECOND), ByHand(0.4, FIRST))
    assert standing.thresholds_of(FIRST[0]) == (0.5, 0.4)
    assert standing.thresholds_of(SECOND[0]) == (0.5, None)
    assert standing.thresholds_of("c" * 64) == (None, None)
    assert [standing.is_for_others(sha) for sha in FIRST + SECOND] == [False, True]
    assert not Standing().is_for_others(FIRST[0])


def test_pause_keeps_the_thresholds() -> None:
    paused = apply(STANDING, {"kind": "pause"})
    assert paused == replace(STANDING, paused=True)
    assert apply(paused, {"kind": "resume"}) == STANDING


def test_look_changes_nothing_but_is_counted() -> None:
    looked = apply(STANDING, {"kind": "look"})
    assert (looked, looked.looks) == (replace(STANDING, looks=1), 1)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "explode"},
        {"kind": "threshold", "engines": ["a"]},
        {"kind": "threshold", "engines": ["a"], "image": math.inf},
        {"kind": "threshold", "engines": ["a"], "image": "0.5"},
        {"kind": "threshold", "engines": ["a"], "image": True},
        {"kind": "threshold", "engines": ["a"], "pixel": -0.1},
        {"kind": "threshold", "engines": ["a"], "image": 0.5, "pixel": 1.1},
        {"kind": "threshold", "image": 0.6},
        {"kind": "threshold", "image": 0.6, "engines": "a"},
        {"kind": "threshold", "image": 0.6, "engines": [7, ""]},
        {"kind": ["pause"]},
    ],
)
def test_bad_message_is_ignored_with_a_warning(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert apply(STANDING, message) == STANDING
    assert [record.msg for record in caplog.records] == ["control.ignored"]


@given(
    st.dictionaries(st.sampled_from(["kind", "image", "pixel"]), anything),
    anything | st.lists(anything),
)
def test_no_message_leads_to_a_threshold_that_is_none(
    message: dict[str, Any], engines: object
) -> None:
    standing = apply(STANDING, message | {"engines": engines})
    assert standing.threshold is not None
    assert math.isfinite(standing.threshold.value)
    assert standing.pixel is not None
    assert 0 <= standing.pixel.value <= 1
    assert all(isinstance(one, str) for one in standing.threshold.engines + standing.pixel.engines)


def test_reset_gives_the_thresholds_back_to_the_engine_and_leaves_a_pause_alone() -> None:
    changed = replace(STANDING, paused=True)
    assert apply(changed, {"kind": "reset"}) == Standing(paused=True)
