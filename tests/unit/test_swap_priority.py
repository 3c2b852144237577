import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.worker.swap.priority import LOWEST, EngineThreads, may_raise


@pytest.fixture
def threads_of_opencv() -> Iterator[None]:
    """Let OpenCV start its threads anew."""
    usual = cv2.getNumThreads()
    cv2.setNumThreads(0)
    yield
    cv2.setNumThreads(usual)


def priorities() -> list[int]:
    return [
        os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")
    ]


@pytest.mark.usefixtures("threads_of_opencv")
def test_threads_of_a_newcomer_yield_until_it_judges_and_no_thread_of_python_does() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    done = threading.Event()
    threads = EngineThreads()
    ours = threading.Thread(target=done.wait)
    ours.start()
    cv2.setNumThreads(3)
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1999, 1999))  # starts them
    threads.lower()
    lowered = priorities().count(LOWEST)
    assert ours.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, ours.native_id) == usual
    threads.raise_again()
    done.set()
    ours.join()
    assert (lowered > 0) is may_raise()
    assert priorities().count(LOWEST) == 0


def test_nothing_is_raised_that_was_not_lowered() -> None:
    before = priorities()
    EngineThreads().raise_again()
    assert priorities() == before
