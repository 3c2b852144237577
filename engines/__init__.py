"""Engines score frames: how they are loaded from files, and how they prove that they may judge.

OpenVINO, NNCF and ONNX Runtime report usage unless this is disabled before they are imported. Every
import of them passes here first, so it is disabled here. Nothing leaves the machine, and no file
with an id is written into HOME.
"""

import os
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)  # the import fails: both use their own stub
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
