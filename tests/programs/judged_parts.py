"""Make docs/pictures/judged-parts.webp from the overlays of a demo: `make demo`, then this."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
KINDS = ("scratch", "dent", "missing", "contamination")
HEIGHT, GAP, QUALITY = 340, 8, 82  # pixels, pixels, of 100


def picture_of(overlays: Path) -> np.ndarray:
    """Return one rejected part of each kind, side by side; uint8 [H, W, 3] BGR."""
    tiles = []
    for kind in KINDS:
        path = min(overlays.glob(f"*_NG_{kind}-*.jpg"))
        tile = cv2.imread(str(path))
        assert tile is not None, path
        width = round(HEIGHT * tile.shape[1] / tile.shape[0])
        tiles += [cv2.resize(tile, (width, HEIGHT), interpolation=cv2.INTER_AREA)]
        tiles += [np.full((HEIGHT, GAP, 3), 255, np.uint8)]
    return np.hstack(tiles[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overlays", type=Path, default=Path("demo-out/overlays"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures/judged-parts.webp")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(given.out), picture_of(given.overlays), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    sys.stdout.write(f"wrote {given.out}, {given.out.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
