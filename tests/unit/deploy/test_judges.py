"""A judge of deploy/ that is not installed stops its own tests only, and is missed in CI."""

from collections.abc import Callable

import pytest
from fakes.deploy_files import judge, program

ABSENT = [(judge, "no_such_judge"), (program, "no-such-judge")]


@pytest.mark.parametrize(("ask", "name"), ABSENT)
def test_absent_judge_skips_with_what_brings_it(
    ask: Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"pip install -e '\.\[deploy-tests\]'"):
        ask(name)


@pytest.mark.parametrize(("ask", "name"), ABSENT)
def test_absent_judge_fails_in_ci(
    ask: Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no.such.judge"):
        ask(name)
