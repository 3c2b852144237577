import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.worker.swap.thread_priority import LOWEST, EngineThreads, may_raise


@pytest.fixture
def threads_of_opencv() -> Iterator[None]:
    """Make OpenCV start its threads again."""
    usual = cv2.getNumThreads()
    cv2.setNumThreads(0)
    yield
    cv2.setNumThreads(usual)


def priorities() -> list[int]:
    threads = Path("/proc/self/task").iterdir()
    return [os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads]


@pytest.mark.usefixtures("threads_of_opencv")
def test_threads_of_a_newcomer_yield_until_it_judges_and_no_other_does() -> None:
    threads = EngineThreads()

    def load() -> None:
        threads.lower()
        cv2.setNumThreads(3)
        cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1999, 1999))  # starts them

    loader = threading.Thread(target=load)
    loader.start()
    loader.join()
    lowered = priorities().count(LOWEST)
    threads.raise_again()
    assert (lowered > 0) is may_raise()
    assert priorities().count(LOWEST) == 0


def test_nothing_is_raised_that_was_not_lowered() -> None:
    before = priorities()
    EngineThreads().raise_again()
    assert priorities() == before
