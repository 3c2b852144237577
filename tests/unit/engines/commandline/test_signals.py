"""SIGTERM while a command starts; each case is a process of its own."""

import subprocess
import sys

import pytest

from engines.commandline.signals import FORCED_STATUS

BEGIN = """
import hashlib, os, signal, sys, threading
from engines.commandline.signals import ended_by_sigterm
from pipeline.signals import stopped_by_signals

def stop(pid=os.getpid()):
    os.kill(pid, signal.SIGTERM)
"""
DEAF = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # a library that never comes back
IN_ORDER = f"""{BEGIN}
try:
    with ended_by_sigterm():
        stop()
        threading.Event().wait()
finally:
    print("closed")
"""
INSIDE_A_LIBRARY = f"""{BEGIN}
with ended_by_sigterm(stuck_s=0.05):
    threading.Timer(0.05, stop).start()
    {DEAF}
"""
WHILE_IT_CLOSES = f"""{BEGIN}
with ended_by_sigterm():
    try:
        stop()
        threading.Event().wait()
    finally:
        stop()
        threading.Event().wait()
"""
ONCE_IT_RUNS = f"""{BEGIN}
with ended_by_sigterm(stuck_s=0.0):
    stopped = threading.Event()
    with stopped_by_signals(stopped.set):
        stop()
        stopped.wait()
    print("drained")
"""
WITH_THREADS_OF_A_LIBRARY = f"""{BEGIN}
from engines.commandline.signals import sigterm_deferred
with ended_by_sigterm():
    try:
        with sigterm_deferred():
            stop()
            print("whole")
        print("not reached")
    finally:
        print("closed")
"""
FOR_TOO_LONG = f"""{BEGIN}
from engines.commandline.signals import sigterm_deferred
with ended_by_sigterm(stuck_s=0.05), sigterm_deferred():
    stop()
    threading.Event().wait()
"""
DEFERRED_BY_ANOTHER_THREAD = f"""{BEGIN}
from engines.commandline.signals import sigterm_deferred
inside, leave = threading.Event(), threading.Event()
def hold():
    with sigterm_deferred():
        inside.set()
        leave.wait()
try:
    with ended_by_sigterm():
        threading.Thread(target=hold, daemon=True).start()
        inside.wait()
        stop()
        threading.Event().wait()
finally:
    print("closed")
"""
A_CHILD = f"""{BEGIN}
with ended_by_sigterm(stuck_s=0.0):
    child = os.fork()
    if child == 0:
        threading.Event().wait()
    stop(child)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(1, f"child {{status}}".encode())
"""


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (IN_ORDER, 0, "closed"),
        (INSIDE_A_LIBRARY, FORCED_STATUS, ""),
        (WHILE_IT_CLOSES, FORCED_STATUS, ""),
        (ONCE_IT_RUNS, 0, "drained"),
        (A_CHILD, 0, "child -15"),
        (WITH_THREADS_OF_A_LIBRARY, 0, "whole\nclosed"),
        (FOR_TOO_LONG, FORCED_STATUS, ""),
        (DEFERRED_BY_ANOTHER_THREAD, 0, "closed"),
    ],
    ids=[
        "in order",
        "inside a library",
        "while it closes",
        "once it runs",
        "a child",
        "deferred",
        "deferred for too long",
        "in another thread",
    ],
)
def test_sigterm_ends_a_command(program: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (status, said), done.stderr
