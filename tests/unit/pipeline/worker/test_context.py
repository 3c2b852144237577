from pipeline.worker.context import Halt


def test_worker_stops_and_says_why_when_a_thread_of_it_fails() -> None:
    halt = Halt()

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    thread = halt.guard(broken, "reader")
    thread.start()
    thread.join()
    assert halt.failure == "reader: a bug"
    assert halt.draining.is_set()
    assert halt.giving_up.is_set()


def test_thread_that_ends_by_itself_stops_nobody() -> None:
    halt = Halt()
    thread = halt.guard(lambda: None, "reader")
    thread.start()
    thread.join()
    assert not halt.draining.is_set()
