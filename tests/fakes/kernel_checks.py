"""What the kernel of the residual is tried with, on a CPU and on a GPU."""

import numpy as np

from engines.residual.launcher import OutputPointers, Scale
from engines.residual.reference import prototype_residual
from fakes.kernel_runs import Maps, Run

ELEMENT_TYPES = [np.float32, np.float16]
# N, K, D: one of each; ragged ends; rows off 16 bytes; every chunk's edge; more slices than are
# on their way at once.
SHAPES = [
    *[(1, 1, 1), (2, 3, 7), (3, 2, 8), (5, 1, 2048), (8, 20, 2047), (9, 21, 2049)],
    *[(1, 31, 4096), (7, 32, 2052), (17, 33, 4100), (33, 5, 6151), (2, 64, 8192), (3, 256, 2056)],
    (1, 130, 20000),
]
# An index is right if no prototype is nearer by more than what half precision leaves in doubt.
INDEX_TOLERANCE = 3e-4
# A thread takes |f - p|^2 of eight elements as ff + pp - 2fp with 25 roundings of at most 2^-24 of
# ff + pp each, and the sum over threads and slices adds tens of roundings of what it sums.
DISTANCE_TOLERANCE = 4e-6


def maps(rng: np.random.Generator, *shape: int, kind: type = np.float32) -> Maps:
    return rng.normal(0.5, 1.0, shape).astype(kind)


def check(features: Maps, prototypes: Maps, run: Run, scale: int = 0) -> None:
    """Compare a scale with the reference, picture by picture, at the index that was chosen."""
    wide, kernels = features.astype(np.float32), prototypes.astype(np.float32)
    _, _, least = prototype_residual(wide, kernels)
    for picture, index in enumerate(run.index[:, scale]):
        chosen = kernels[index : index + 1]
        residual, _, distance = prototype_residual(wide[picture : picture + 1], chosen)
        scope = np.square(wide[picture]).sum() + np.square(chosen).sum()
        assert distance[0] <= least[picture] * (1 + INDEX_TOLERANCE)
        assert abs(run.distance[picture, scale] - distance[0]) <= DISTANCE_TOLERANCE * scope
        got = run.residuals[scale][picture]
        assert got.tobytes() == residual[0].astype(features.dtype).tobytes()


GOOD = Scale(features=16, prototypes=16, residual=16, elements=100, prototypes_count=3)
SIZES = {
    "scale_count": ([], 1),
    "scale_count: 1 to 4": ([GOOD] * 5, 1),
    "batch": ([GOOD], 0),
    "elements": ([Scale(16, 16, 16, 0, 3)], 1),
    "prototypes_count: 1": ([Scale(16, 16, 16, 100, 0)], 1),
    "to 256 prototypes": ([Scale(16, 16, 16, 100, 257)], 1),
    "split the batch": ([Scale(16, 16, 16, 1 << 40, 1)], 1 << 10),
}
# pointers that cannot be, of answers and scale, and the word that says why
POINTERS = [
    (OutputPointers(0, 16, 16, 1 << 20), GOOD, "null"),
    (OutputPointers(16, 0, 16, 1 << 20), GOOD, "null"),
    (OutputPointers(16, 16, 16, 1 << 20), Scale(0, 16, 16, 100, 3), "null"),
    (OutputPointers(16, 16, 0, 1 << 20), GOOD, "workspace"),
    (OutputPointers(16, 16, 16, 351), GOOD, "workspace"),
    (OutputPointers(16, 16, 24, 1 << 20), GOOD, "workspace"),
]
