import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))  # the retrain without torch lies there
