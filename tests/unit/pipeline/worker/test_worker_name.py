from pipeline.worker.worker import worker_name


def test_each_life_of_a_worker_has_a_name_of_its_own() -> None:
    # a container restarts with the host name and process id of the worker that was killed in it
    assert worker_name("cpu") != worker_name("cpu")
