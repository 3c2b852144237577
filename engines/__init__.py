"""Engines: what scores frames, the file it is loaded from, and the proof that it may judge.

OpenVINO, NNCF and ONNX Runtime report home unless they are told not to before they are imported.
Every import of them passes here first, so this is where they are told: nothing of a line leaves
the machine, and no file with an id is written into HOME.
"""

import os
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)  # its import fails: then both use their own stub
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
