"""Make docs/pictures/judged-parts.webp from a demo: `make demo`, then this.

Shows the part of each kind that scored highest.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
KINDS = ("scratch", "dent", "missing", "contamination")
HEIGHT, GAP, QUALITY = 340, 8, 82  # pixels, pixels, of 100


def picture_of(demo: Path) -> np.ndarray:
    """Return one rejected part of each kind, side by side; uint8 [H, W, 3] BGR."""
    rows = [json.loads(line) for line in (demo / "verdicts.jsonl").read_text("utf-8").splitlines()]
    tiles = []
    for kind in KINDS:
        rejected = [
            row
            for row in rows
            if row["camera"] == "camera-2"
            and row["decision"] == "NG"
            and row["part_id"].startswith(f"{kind}/")
        ]
        best = max(rejected, key=lambda row: row["score"])
        (path,) = (demo / "overlays").glob(f"camera-2_{best['seq']:08d}_NG_*.jpg")
        tile = cv2.imread(str(path))
        assert tile is not None, path
        width = round(HEIGHT * tile.shape[1] / tile.shape[0])
        tiles += [cv2.resize(tile, (width, HEIGHT), interpolation=cv2.INTER_AREA)]
        tiles += [np.full((HEIGHT, GAP, 3), 255, np.uint8)]
    return np.hstack(tiles[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo-out"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures/judged-parts.webp")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(given.out), picture_of(given.demo), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    sys.stdout.write(f"wrote {given.out}, {given.out.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
