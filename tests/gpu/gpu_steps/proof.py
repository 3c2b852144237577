"""The tests of the kernel on this GPU, through pytest."""

import re
import sys
from xml.etree import ElementTree as ET

from gpu_steps.job import Job, WrongError, environment, last_lines, said_by

TESTS = "tests/gpu/test_residual_kernel_gpu.py"
FEW = "reference and shape0 or nan or refused or graph"  # enough to prove this step on a CPU
COUNTS = ("tests", "failures", "errors", "skipped")


def run(job: Job) -> None:
    report = job.room / "tests.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", TESTS, "-q", "--tb=short", "--durations=5"]
    command += ["-o", "filterwarnings=default", f"--junitxml={report}"]
    command += [] if job.has_gpu else ["-k", FEW]
    how = environment(PRN_KERNEL_DEVICE=job.device, PRN_KERNEL_FOLDER=str(job.room))
    status, said = said_by(command, job.left_s() - 3, how)
    job.put("status", status)
    job.put("said", last_lines(said, 12))
    if not report.is_file():
        raise WrongError(f"pytest ended with {status} and no report: {last_lines(said, 3)}")
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314  # our own file
    counts = {name: int(suite.get(name, "0")) for name in COUNTS} if suite is not None else {}
    job.put("counts", counts)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    job.put("failed", failed)
    if status != 0 or not counts.get("tests") or counts["skipped"]:
        raise WrongError(f"pytest ended with {status}, {counts}, failed {failed[:5]}")
