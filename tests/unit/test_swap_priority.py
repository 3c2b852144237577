import os
import threading

from pipeline.worker.swap.priority import LOWEST, Lowered, may_raise


def test_threads_that_a_loader_starts_are_raised_before_they_matter() -> None:
    if not may_raise():
        return  # this process may not: nothing is lowered, as the next test shows
    lowered, ready, done = Lowered(), threading.Event(), threading.Event()
    ids: list[int] = []

    def stream() -> None:
        ids.append(threading.get_native_id())
        ready.set()
        done.wait(10)

    def load() -> None:
        lowered.enter()
        threading.Thread(target=stream).start()

    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    loader = threading.Thread(target=load)
    loader.start()
    loader.join()
    assert ready.wait(10)
    assert os.getpriority(os.PRIO_PROCESS, ids[0]) == LOWEST
    lowered.raise_all()
    assert os.getpriority(os.PRIO_PROCESS, ids[0]) == usual
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual
    done.set()


def test_nothing_is_raised_that_was_not_lowered() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    Lowered().raise_all()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
