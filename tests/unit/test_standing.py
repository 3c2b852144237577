import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.control import Standing, apply

STANDING = Standing(0.5, 0.4)
thresholds = st.floats(allow_nan=False, allow_infinity=False)
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("0.5") | st.just("threshold")
)


@given(thresholds, st.floats(0, 1))
def test_threshold_message_sets_what_it_names(image: float, pixel: float) -> None:
    assert apply(STANDING, {"kind": "threshold", "image": image}) == Standing(image, 0.4)
    assert apply(STANDING, {"kind": "threshold", "pixel": pixel}) == Standing(0.5, pixel)
    both = {"kind": "threshold", "image": image, "pixel": pixel}
    assert apply(STANDING, both) == Standing(image, pixel)


def test_pause_keeps_the_thresholds() -> None:
    paused = apply(STANDING, {"kind": "pause"})
    assert paused == Standing(0.5, 0.4, paused=True)
    assert apply(paused, {"kind": "resume"}) == STANDING


def test_look_changes_nothing_but_is_counted() -> None:
    looked = apply(STANDING, {"kind": "look"})
    assert (looked, looked.looks) == (Standing(0.5, 0.4, looks=1), 1)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "explode"},
        {"kind": "threshold"},
        {"kind": "threshold", "image": math.inf},
        {"kind": "threshold", "image": "0.5"},
        {"kind": "threshold", "image": True},
        {"kind": "threshold", "pixel": -0.1},
        {"kind": "threshold", "image": 0.5, "pixel": 1.1},
        {"kind": ["pause"]},
    ],
)
def test_bad_message_is_ignored_with_a_warning(
    message: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert apply(STANDING, message) == STANDING
    assert [record.msg for record in caplog.records] == ["control.ignored"]


@given(st.dictionaries(st.sampled_from(["kind", "image", "pixel"]), anything))
def test_no_message_leads_to_a_threshold_that_is_none(message: dict[str, Any]) -> None:
    standing = apply(STANDING, message)
    assert standing.threshold is not None
    assert math.isfinite(standing.threshold)
    assert standing.pixel is not None
    assert 0 <= standing.pixel <= 1


def test_reset_gives_the_thresholds_back_to_the_engine_and_leaves_a_pause_alone() -> None:
    changed = Standing(threshold=0.4, pixel=0.2, paused=True)
    assert apply(changed, {"kind": "reset"}) == Standing(paused=True)
