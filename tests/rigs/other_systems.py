"""What of Windows can be had on this machine: modules and names that it lacks are gone.

Its own files, sockets and signals cannot be had here. Libraries are imported before.
"""

POSIX_MODULES = frozenset({"fcntl", "grp", "posix_ipc", "pwd", "resource", "syslog", "termios"})
WINDOWS = f"""
import asyncio, logging, multiprocessing, os, platform, random, signal, subprocess, tempfile
import fsspec, msgpack, numpy, prometheus_client, pydantic_settings, redis, rich.progress, structlog
import redis.cluster, redis.sentinel, uuid, urllib.request

for name in {sorted(POSIX_MODULES)!r}:
    sys.modules.pop(name, None)
set_blocking, set_wakeup_fd = os.set_blocking, signal.set_wakeup_fd


def wake(descriptor, **options):
    if descriptor >= 0:
        set_blocking(descriptor, False)  # this system insists on it, Windows does not
    return set_wakeup_fd(descriptor, **options)


signal.set_wakeup_fd = wake
for name in (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_TMPFILE", "fork",
    "geteuid", "getpgid", "getuid", "killpg", "posix_fallocate", "pread", "preadv", "pwrite",
    "register_at_fork", "sched_getaffinity", "set_blocking", "setsid", "statvfs", "sysconf",
):
    delattr(os, name)
for name in (
    "SIGALRM", "SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "SIG_BLOCK", "SIG_UNBLOCK",
    "pthread_sigmask", "setitimer",
):
    delattr(signal, name)
sys.platform = "win32"
"""
