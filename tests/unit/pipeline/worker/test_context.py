from pipeline.worker.context import Shutdown


def test_worker_stops_and_says_why_when_a_thread_of_it_fails() -> None:
    shutdown = Shutdown()

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    thread = shutdown.guarded_thread(broken, "reader")
    thread.start()
    thread.join()
    assert shutdown.failure == "reader: a bug"
    assert shutdown.draining.is_set()
    assert shutdown.giving_up.is_set()


def test_thread_that_ends_by_itself_stops_nobody() -> None:
    shutdown = Shutdown()
    thread = shutdown.guarded_thread(lambda: None, "reader")
    thread.start()
    thread.join()
    assert not shutdown.draining.is_set()
