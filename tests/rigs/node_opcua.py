"""node-opcua, an OPC UA client that shares no line with the server under test."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rigs.missing import missing
from rigs.opcua import PASSWORD, USER, Identity

VERSION = "2.182.2"  # the last minor release for node 20
PROGRAM = Path(__file__).parents[1] / "programs" / "opcua_client.cjs"
_INSTALL_S = 240


class Refused(Exception):  # noqa: N818  # an answer
    """The server, or the client, refused."""


class NodeClient:
    """A process that runs a client."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Carry out one command.

        Raises:
            Refused: with what node-opcua says.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command} | arguments) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["is"]

    def connect(
        self,
        url: str,
        who: Identity,
        folder: Path,
        *,
        policy: str = "Basic256Sha256",
        mode: str = "SignAndEncrypt",
        password: str = PASSWORD,
    ) -> None:
        """Connect as a user."""
        paths = {"certificate": str(who.certificate), "key": str(who.key), "uri": who.uri}
        self.do(
            "connect", url=url, mode=mode, policy=policy, identity=paths, user=USER,
            password=password, folder=str(folder / "node-pki"),
        )  # fmt: skip


def _modules(npm: str) -> Path:
    """Return the folder with node-opcua, installed once outside of the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "prn-line-tests" / f"node-opcua-client-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=folder.parent))
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]
        command += [str(half), f"node-opcua-client@{VERSION}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_S)
            half.rename(folder)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(half, ignore_errors=True)
            if not folder.is_dir():  # another test may have been faster
                missing(f"node-opcua-client cannot be installed, so it did not run: {error}")
    return folder / "node_modules"


@contextmanager
def node_client() -> Iterator[NodeClient]:
    """Run a client; where node or npm is missing, the test does not run, aloud."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("no node and npm, so no client of a third party was tried: install Node.js 20")
    environment = os.environ | {"NODE_PATH": str(_modules(npm))}
    with subprocess.Popen(
        [node, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            yield NodeClient(process)
        finally:
            process.kill()
