"""compute-sanitizer over a small call of every kernel."""

import os
import re
import shutil
import sys
from pathlib import Path

from gpu_rig import compile_for_this_gpu

from gpu_steps.job import Job, NotRunError, WrongError, environment, last_lines, said_by

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
PROGRAM = Path(__file__).parents[1] / "sanitized.py"
FOUND = re.compile(r"SUMMARY: (\d+) (?:error|hazard)")
TOOL_S = 45.0


def run(job: Job) -> None:
    if not job.has_gpu:
        raise NotRunError("compute-sanitizer looks at a GPU")
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    program = shutil.which("compute-sanitizer", path=path)
    if program is None:
        raise NotRunError("no compute-sanitizer on PATH or in /usr/local/cuda")
    library = compile_for_this_gpu(job.room).library
    plain = [sys.executable, PROGRAM, library]
    status, said = said_by(plain, 30, environment())
    job.put("without", {"status": status, "said": last_lines(said, 3)})
    for tool in TOOLS:
        watched = [program, "--tool", tool, *plain]
        status, said = said_by(watched, min(TOOL_S, job.left_s() - 2), environment())
        job.put(tool, judged(status, said))
    found = {tool: job.figures[tool]["found"] for tool in TOOLS}
    if job.figures["without"]["status"] != 0 or any(found.values()):
        raise WrongError(f"found by the tools: {found}, without: {job.figures['without']}")
    if all(each is None for each in found.values()):
        raise NotRunError(f"compute-sanitizer does not work here: {job.figures['memcheck']}")


def judged(status: int, said: str) -> dict[str, object]:
    """Errors or hazards found; None where the tool or the program came to no end."""
    summary = FOUND.search(said)
    finished = "every kernel answered" in said
    reports = [line for line in said.splitlines() if line.startswith("=========")]
    count = int(summary[1]) if summary else None
    return {
        "found": count if count or finished else None,
        "status": status,
        "said": [line[:200] for line in reports[:6]] if count else last_lines(said, 3),
    }
