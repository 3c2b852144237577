from pathlib import Path

import numpy as np
import pytest
from fakes.kernel_checks import ELEMENT_TYPES, GOOD, POINTERS, SHAPES, SIZES, check, maps
from fakes.kernel_runs import BACKWARDS, FORWARDS, SHUFFLED, KernelOnCpu, Run, compile_for_cpu

from engines.backends.tensorrt.plugin import workspace_bytes
from engines.errors import BackendError, ScoringError, ShapeError
from engines.residual.launcher import OutputPointers, ResidualKernel, Scale


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, cxx: str) -> Path:
    return compile_for_cpu(tmp_path_factory.mktemp("cpu"), cxx)


@pytest.fixture(scope="module")
def on_cpu(library: Path) -> KernelOnCpu:
    return KernelOnCpu(library)


@pytest.mark.parametrize("batch", [1, 8, 9, 33])
def test_plugin_asks_for_the_workspace_that_the_kernel_wants(library: Path, batch: int) -> None:
    maps = [(262_144, 20), (4_097, 256), (1, 1)]
    scales = [Scale(0, 0, 0, elements, count) for elements, count in maps]
    assert ResidualKernel(library).workspace_bytes(scales, batch) == workspace_bytes(maps, batch)


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_agrees_with_the_reference(
    on_cpu: KernelOnCpu, rng: np.random.Generator, shape: tuple[int, int, int], kind: type
) -> None:
    count, kinds, elements = shape
    features = maps(rng, count, elements, kind=kind)
    prototypes = maps(rng, kinds, elements, kind=kind)
    check(features, prototypes, on_cpu.run([features], [prototypes]))


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("scales", [2, 3, 4])
def test_scales_choose_by_themselves(
    on_cpu: KernelOnCpu, rng: np.random.Generator, scales: int, kind: type
) -> None:
    sizes = [(6, 4096), (3, 2050), (40, 300), (1, 5)][:scales]  # K, D
    features = [maps(rng, 10, elements, kind=kind) for _, elements in sizes]
    prototypes = [maps(rng, *size, kind=kind) for size in sizes]
    run = on_cpu.run(features, prototypes)
    for scale in range(scales):
        check(features[scale], prototypes[scale], run, scale)


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_near_prototypes_are_told_apart(
    on_cpu: KernelOnCpu, rng: np.random.Generator, kind: type
) -> None:
    centre = maps(rng, 1, 4096)
    features = (centre + 0.05 * maps(rng, 9, 4096)).astype(kind)
    prototypes = (centre + 0.05 * maps(rng, 20, 4096)).astype(kind)
    check(features, prototypes, on_cpu.run([features], [prototypes]))


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_picture_gets_the_same_bits_alone_and_in_every_slot(
    on_cpu: KernelOnCpu, rng: np.random.Generator, kind: type
) -> None:
    features = [maps(rng, 9, 4100, kind=kind), maps(rng, 9, 70, kind=kind)]
    prototypes = [maps(rng, 5, 4100, kind=kind), maps(rng, 3, 70, kind=kind)]
    together = on_cpu.run(features, prototypes)
    batches = [[picture] for picture in range(9)]
    batches += [list(np.roll(range(9), by)) for by in range(1, 9)]
    batches += [list(range(size)) for size in range(2, 9)]
    for batch in batches:
        run = on_cpu.run([each[batch] for each in features], prototypes)
        assert together.same_bits(run, batch)


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_order_of_blocks_and_threads_does_not_matter(
    on_cpu: KernelOnCpu, rng: np.random.Generator, kind: type
) -> None:
    features = [maps(rng, 11, elements, kind=kind) for elements in (6151, 2048)]
    prototypes = [maps(rng, 35, elements, kind=kind) for elements in (6151, 2048)]
    forwards = on_cpu.run(features, prototypes)
    orders = [(BACKWARDS, FORWARDS, 0), (FORWARDS, BACKWARDS, 0)]
    orders += [(SHUFFLED, SHUFFLED, seed) for seed in range(3)]
    for order in orders:
        assert forwards.same_bits(on_cpu.run(features, prototypes, order))


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_maps_off_16_bytes_give_the_same_bits(
    on_cpu: KernelOnCpu, rng: np.random.Generator, kind: type
) -> None:
    features, prototypes = maps(rng, 9, 4096, kind=kind), maps(rng, 7, 4096, kind=kind)
    aligned = on_cpu.run([features], [prototypes])
    for shift in (1, 3):
        assert aligned.same_bits(on_cpu.run([features], [prototypes], shift=shift))


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_lowest_of_equal_prototypes_is_taken(
    on_cpu: KernelOnCpu, rng: np.random.Generator, kind: type
) -> None:
    features, prototypes = maps(rng, 3, 2100, kind=kind), maps(rng, 70, 2100, kind=kind)
    prototypes[[69, 33, 40]] = features[0]  # in several lanes and chunks
    prototypes[[64, 1]] = features[1]
    prototypes[[0, 32]] = features[2]
    run = on_cpu.run([features], [prototypes])
    assert list(run.index[:, 0]) == [33, 1, 0]
    assert (run.distance >= 0).all()
    assert not run.residuals[0].any()


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("element", [0, 2047, 2048, 4098])
def test_picture_with_a_nan_takes_prototype_zero_and_harms_no_other(
    on_cpu: KernelOnCpu, rng: np.random.Generator, element: int, kind: type
) -> None:
    features, prototypes = maps(rng, 9, 4099, kind=kind), maps(rng, 40, 4099, kind=kind)
    clean = on_cpu.run([features], [prototypes])
    features[5, element] = np.nan
    run = on_cpu.run([features], [prototypes])
    assert run.index[5, 0] == 0
    assert np.isnan(run.distance[5, 0])
    assert list(np.flatnonzero(np.isnan(run.residuals[0][5]))) == [element]
    others = [0, 1, 2, 3, 4, 6, 7, 8]
    rest = Run([run.residuals[0][others]], run.index[others], run.distance[others])
    assert clean.same_bits(rest, others)


def test_picture_with_an_infinity_takes_prototype_zero(
    on_cpu: KernelOnCpu, rng: np.random.Generator
) -> None:
    features, prototypes = maps(rng, 2, 300), maps(rng, 40, 300)
    features[1, 7] = np.inf
    run = on_cpu.run([features], [prototypes])
    assert run.index[1, 0] == 0
    assert not np.isfinite(run.distance[1, 0])
    assert np.isfinite(run.distance[0, 0])


@pytest.mark.parametrize("reason", SIZES)
def test_sizes_that_cannot_be_are_refused_before_a_launch(on_cpu: KernelOnCpu, reason: str) -> None:
    scales, batch = SIZES[reason]
    with pytest.raises(ShapeError, match=reason):
        on_cpu.kernel.workspace_bytes(scales, batch)
    with pytest.raises(ShapeError, match=reason):
        on_cpu.kernel.launch(scales, batch, np.float32, OutputPointers(16, 16, 16, 1 << 20), 0)


@pytest.mark.parametrize(("answers", "scale", "reason"), POINTERS)
def test_pointers_that_cannot_be_are_refused_before_a_launch(
    on_cpu: KernelOnCpu, answers: OutputPointers, scale: Scale, reason: str
) -> None:
    with pytest.raises(ShapeError, match=reason):
        on_cpu.kernel.launch([scale], 1, np.float32, answers, 0)


def test_unknown_element_type_is_refused(on_cpu: KernelOnCpu) -> None:
    with pytest.raises(ShapeError, match="float64"):
        on_cpu.kernel.launch([GOOD], 1, np.float64, OutputPointers(16, 16, 16, 1 << 20), 0)


def test_library_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(b"no library")
    with pytest.raises(BackendError, match="compile it"):
        ResidualKernel(other)


def test_refusal_of_cuda_is_a_scoring_error(on_cpu: KernelOnCpu) -> None:
    features = np.zeros((1, 8), np.float32)
    with pytest.raises(ScoringError, match="CUDA error 700: an illegal memory access"):
        on_cpu.run([features], [features], allowed=0)
