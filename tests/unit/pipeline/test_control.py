import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.control import LineState, ManualThreshold, apply_message

FIRST, SECOND = ("a" * 64,), ("b" * 64,)
STANDING = LineState(ManualThreshold(0.5, FIRST), ManualThreshold(0.4, FIRST))
thresholds = st.floats(allow_nan=False, allow_infinity=False)
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("0.5") | st.just("threshold")
)


@given(thresholds, st.floats(0, 1))
def test_threshold_message_sets_what_it_names(image: float, pixel: float) -> None:
    message = {"kind": "threshold", "engines": list(SECOND)}
    of_image, of_pixel = ManualThreshold(image, SECOND), ManualThreshold(pixel, SECOND)
    assert apply_message(STANDING, message | {"image": image}) == replace(
        STANDING, threshold=of_image
    )
    assert apply_message(STANDING, message | {"pixel": pixel}) == replace(STANDING, pixel=of_pixel)
    assert apply_message(STANDING, message | {"image": image, "pixel": pixel}) == LineState(
        of_image, of_pixel
    )


def test_threshold_holds_for_the_engines_that_it_was_set_for_alone() -> None:
    state = LineState(ManualThreshold(0.5, FIRST + SECOND), ManualThreshold(0.4, FIRST))
    assert state.thresholds_of(FIRST[0]) == (0.5, 0.4)
    assert state.thresholds_of(SECOND[0]) == (0.5, None)
    assert state.thresholds_of("c" * 64) == (None, None)
    assert [state.has_lapsed_for(sha) for sha in FIRST + SECOND] == [False, True]
    assert not LineState().has_lapsed_for(FIRST[0])


def test_pause_keeps_the_thresholds() -> None:
    paused = apply_message(STANDING, {"kind": "pause"})
    assert paused == replace(STANDING, paused=True)
    assert apply_message(paused, {"kind": "resume"}) == STANDING


def test_look_changes_nothing_but_is_counted() -> None:
    looked = apply_message(STANDING, {"kind": "look"})
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
    assert apply_message(STANDING, message) == STANDING
    assert [record.msg for record in caplog.records] == ["control.ignored"]


@given(
    st.dictionaries(st.sampled_from(["kind", "image", "pixel"]), anything),
    anything | st.lists(anything),
)
def test_no_message_leads_to_a_threshold_that_is_none(
    message: dict[str, Any], engines: object
) -> None:
    state = apply_message(STANDING, message | {"engines": engines})
    assert state.threshold is not None
    assert math.isfinite(state.threshold.value)
    assert state.pixel is not None
    assert 0 <= state.pixel.value <= 1
    assert all(isinstance(one, str) for one in state.threshold.engines + state.pixel.engines)


def test_reset_gives_the_thresholds_back_to_the_engine_and_leaves_a_pause_alone() -> None:
    changed = replace(STANDING, paused=True)
    assert apply_message(changed, {"kind": "reset"}) == LineState(paused=True)


def test_what_is_logged_of_a_line_is_plain() -> None:
    state = apply_message(LineState(), {"kind": "pause"})
    state = apply_message(state, {"kind": "threshold", "image": 0.5, "engines": ["a", "b"]})
    assert state.log_fields() == {
        "paused": True,
        "looks": 0,
        "threshold": 0.5,
        "threshold_engines": "a b",
        "pixel_threshold": None,
        "pixel_threshold_engines": None,
    }
