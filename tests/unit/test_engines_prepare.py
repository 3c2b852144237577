"""Compiling elsewhere: what comes out of it scores as what is compiled here."""

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import write_engine

from engines.errors import BackendError
from engines.fixed_engine import FixedPlan, write_fixed_engine
from engines.open import open_engine
from engines.prepare import prepare
