"""Carried wheels, and this project, in an environment of their own over this Python's packages."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from gpu_steps.job import ROOT, Job, NotRunError, last_lines, said_by

PIP_S = 90.0


def run(job: Job) -> None:
    wheels = job.figures["wheels"]
    if not wheels:
        raise NotRunError("WHEELS names no folder: what needs missing packages is not run")
    found = sorted(Path(wheels).resolve().glob("*.whl"))
    if not found:
        raise NotRunError(f"no wheels in {wheels}")
    python = make_python(job.room / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    pip += ["--no-index", "--no-deps", "--disable-pip-version-check"]
    status, said = said_by([*pip, *found], min(PIP_S, job.left_s()))
    refused = {}
    if status != 0:  # one that does not fit stops all: then each by itself
        for wheel in found:
            status, said = said_by([*pip, wheel], min(PIP_S, job.left_s()))
            if status != 0:
                refused[wheel.name] = last_lines(said, 2)
    job.put("carried", [wheel.name for wheel in found if wheel.name not in refused])
    job.put("refused", refused)
    status, said = said_by([*pip, "--no-build-isolation", "-e", ROOT], min(PIP_S, job.left_s()))
    job.put("project", "installed" if status == 0 else last_lines(said))
    wanted = "assert torch.cuda.is_available()" if job.has_gpu else "pass"
    status, said = said_by([python, "-c", f"import numpy, torch; {wanted}"], job.left_s())
    if status != 0:
        raise NotRunError(
            f"torch is not seen from there, so nothing carried is used: {said[-200:]}"
        )
    job.put("python", str(python))


def make_python(folder: Path) -> Path:
    """Make one that sees this Python's packages, also where this is a virtual environment itself.

    `--system-site-packages` alone would show those of the Python under it. pip is this Python's
    own, since Debian's venv has none.
    """
    make = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder]
    subprocess.run(make, check=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(said_by([python, "-c", ask], 20)[1].strip())
    paths = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    lines = [f"import site; site.addsitedir({path!r})" for path in sorted(paths)]
    (own / "packages_below.pth").write_text("\n".join(lines) + "\n", "utf-8")
    return python
