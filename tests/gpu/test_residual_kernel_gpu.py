"""The compiled kernel on a GPU: the same claims as on a CPU, and those that only a GPU can show."""

import numpy as np
import pytest
import torch
from fakes.kernel_checks import ELEMENT_TYPES, POINTERS, SHAPES, SIZES, check, maps
from fakes.kernel_runs import KernelOnCpu, Maps, Run, compile_for_cpu
from gpu_rig import BITS, BoundCall, Rig, captured, drawn

from engines.errors import ShapeError
from engines.residual.launcher import OutputPointers, Scale

pytestmark = pytest.mark.gpu

PRN = (262_144, 131_072, 65_536)  # elements of a map at the three scales, 256 x 256, ResNet-18
SMALL = (4096, 2048, 1024)  # instead of these where the kernel runs on a CPU
REPEATS = 100
MANY = [(4, 256, 4096), (64, 40, 2048), (16, 255, 2051), (64, 1, 100)]  # N, K, D


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory, cxx: str) -> KernelOnCpu:
    return KernelOnCpu(compile_for_cpu(tmp_path_factory.mktemp("cpu"), cxx))


def call(rig: Rig, features: list[Maps], prototypes: list[Maps], shift: int = 0) -> BoundCall:
    wanted = [torch.from_numpy(np.ascontiguousarray(each)) for each in (*features, *prototypes)]
    return BoundCall(rig, wanted[: len(features)], wanted[len(features) :], shift)


def prn_maps(rig: Rig, batch: int, count: int, kind: type) -> tuple[list[Maps], list[Maps]]:
    """Maps of the real sizes on a GPU, [N, D] and [K, D] for each scale."""
    rng = np.random.default_rng(3)
    sizes = PRN if rig.has_gpu else SMALL
    features = [maps(rng, batch, size, kind=kind) for size in sizes]
    return features, [maps(rng, count, size, kind=kind) for size in sizes]


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("shape", [*SHAPES, *MANY])
def test_gpu_agrees_with_the_reference(
    rig: Rig, rng: np.random.Generator, shape: tuple[int, int, int], kind: type, shift: int
) -> None:
    count, kinds, elements = shape
    features = maps(rng, count, elements, kind=kind)
    prototypes = maps(rng, kinds, elements, kind=kind)
    check(features, prototypes, call(rig, [features], [prototypes], shift).run())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("batch", [1, 9, 64])
@pytest.mark.parametrize("count", [20, 40])
def test_gpu_agrees_with_the_reference_on_maps_of_prn(
    rig: Rig, batch: int, count: int, kind: type
) -> None:
    features, prototypes = prn_maps(rig, batch, count, kind)
    run = call(rig, features, prototypes).run()
    checked = [0, *range(batch - 2, batch)] if batch > 9 else range(batch)
    for scale in range(3):
        rows = sorted(set(checked))
        some = Run([each[rows] for each in run.residuals], run.index[rows], run.distance[rows])
        check(features[scale][rows], prototypes[scale], some, scale)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("shape", [*SHAPES, *MANY])
def test_gpu_and_cpu_give_the_same_bits(
    rig: Rig,
    on_cpu: KernelOnCpu,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    kind: type,
    shift: int,
) -> None:
    count, kinds, elements = shape
    features = maps(rng, count, elements, kind=kind)
    prototypes = maps(rng, kinds, elements, kind=kind)
    wanted = on_cpu.run([features], [prototypes])
    assert wanted.same_bits(call(rig, [features], [prototypes], shift).run())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_gpu_and_cpu_give_the_same_bits_on_maps_of_prn(
    rig: Rig, on_cpu: KernelOnCpu, kind: type
) -> None:
    features, prototypes = prn_maps(rig, 3, 20, kind)
    assert on_cpu.run(features, prototypes).same_bits(call(rig, features, prototypes).run())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("scales", [2, 3, 4])
def test_scales_choose_by_themselves_on_a_gpu(
    rig: Rig, rng: np.random.Generator, scales: int, kind: type
) -> None:
    sizes = [(6, 4096), (3, 2050), (40, 300), (1, 5)][:scales]  # K, D
    features = [maps(rng, 10, elements, kind=kind) for _, elements in sizes]
    prototypes = [maps(rng, *size, kind=kind) for size in sizes]
    run = call(rig, features, prototypes).run()
    for scale in range(scales):
        check(features[scale], prototypes[scale], run, scale)


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_picture_gets_the_same_bits_in_every_batch_on_a_gpu(rig: Rig, kind: type) -> None:
    features, prototypes = prn_maps(rig, 64, 20, kind)
    together = call(rig, features, prototypes).run()
    batches = [[picture] for picture in (0, 7, 8, 31, 63)]
    batches += [list(np.roll(range(64), by)) for by in (1, 5, 8)]
    batches += [list(range(size)) for size in (2, 8, 9, 33)]
    for batch in batches:
        run = call(rig, [each[batch] for each in features], prototypes).run()
        assert together.same_bits(run, batch)


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_hundred_calls_beside_other_work_give_the_same_bits(rig: Rig, kind: type) -> None:
    features, prototypes = prn_maps(rig, 9, 20, kind)
    bound = call(rig, features, prototypes)
    first = bound.run()
    wanted = [each.values.clone() for each in bound.residuals]
    other = torch.cuda.Stream() if rig.has_gpu else None
    traffic = torch.ones(1 << 10, 1 << 10, device=rig.device)
    for _ in range(REPEATS):
        if other is not None:
            with torch.cuda.stream(other):  # takes multiprocessors and cache from the kernel
                traffic = traffic @ traffic / len(traffic)
        bound.forget()
        bound.launch()
        bits = BITS[wanted[0].itemsize]
        for residual, before in zip(bound.residuals, wanted, strict=True):
            assert torch.equal(residual.values.view(bits), before.view(bits))
    assert first.same_bits(bound.answer())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_two_streams_do_not_disturb_each_other(rig: Rig, kind: type) -> None:
    features, prototypes = prn_maps(rig, 8, 20, kind)
    one = call(rig, features, prototypes)
    two = call(rig, [each[::-1] for each in features], prototypes)
    wanted = one.run(), two.run()
    streams = [torch.cuda.Stream() if rig.has_gpu else None for _ in range(2)]
    for _ in range(REPEATS // 5):
        one.forget()
        two.forget()
        rig.synchronize()
        for bound, stream in zip((one, two), streams, strict=True):
            with torch.cuda.stream(stream):
                bound.launch()
        assert wanted[0].same_bits(one.answer())
        assert wanted[1].same_bits(two.answer())


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_replayed_graph_gives_the_same_bits(rig: Rig, kind: type, batch: int) -> None:
    features, prototypes = prn_maps(rig, batch, 20, kind)
    bound = call(rig, features, prototypes)
    wanted = bound.run()
    replay = captured([bound.launch]) if rig.has_gpu else bound.launch
    for _ in range(3):
        bound.forget()
        replay()
        assert wanted.same_bits(bound.answer())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_replayed_graph_reads_the_maps_of_the_moment(rig: Rig, kind: type) -> None:
    features, prototypes = prn_maps(rig, 2, 20, kind)
    bound = call(rig, features, prototypes)
    replay = captured([bound.launch]) if rig.has_gpu else bound.launch
    changed = [(each[::-1] + 1).astype(kind) for each in features]
    for guarded, each in zip(bound.features, changed, strict=True):
        guarded.values.copy_(torch.from_numpy(each))
    replay()
    assert call(rig, changed, prototypes).run().same_bits(bound.answer())


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
def test_lowest_of_equal_prototypes_is_taken_on_a_gpu(
    rig: Rig, rng: np.random.Generator, kind: type
) -> None:
    features, prototypes = maps(rng, 3, 2100, kind=kind), maps(rng, 70, 2100, kind=kind)
    prototypes[[69, 33, 40]] = features[0]  # in several lanes and chunks
    prototypes[[64, 1]] = features[1]
    prototypes[[0, 32]] = features[2]
    run = call(rig, [features], [prototypes]).run()
    assert list(run.index[:, 0]) == [33, 1, 0]
    assert (run.distance >= 0).all()
    assert not run.residuals[0].any()


@pytest.mark.parametrize("kind", ELEMENT_TYPES)
@pytest.mark.parametrize("element", [0, 2047, 2048, 4098])
def test_nan_takes_prototype_zero_and_harms_no_other_on_a_gpu(
    rig: Rig, rng: np.random.Generator, element: int, kind: type
) -> None:
    features, prototypes = maps(rng, 9, 4099, kind=kind), maps(rng, 40, 4099, kind=kind)
    clean = call(rig, [features], [prototypes]).run()
    features[5, element] = np.nan
    run = call(rig, [features], [prototypes]).run()
    assert run.index[5, 0] == 0
    assert np.isnan(run.distance[5, 0])
    assert list(np.flatnonzero(np.isnan(run.residuals[0][5]))) == [element]
    others = [0, 1, 2, 3, 4, 6, 7, 8]
    rest = Run([run.residuals[0][others]], run.index[others], run.distance[others])
    assert clean.same_bits(rest, others)


def test_infinity_takes_prototype_zero_on_a_gpu(rig: Rig, rng: np.random.Generator) -> None:
    features, prototypes = maps(rng, 2, 300), maps(rng, 40, 300)
    features[1, 7] = np.inf
    run = call(rig, [features], [prototypes]).run()
    assert run.index[1, 0] == 0
    assert not np.isfinite(run.distance[1, 0])
    assert np.isfinite(run.distance[0, 0])


@pytest.mark.parametrize("reason", SIZES)
def test_sizes_that_cannot_be_are_refused_on_a_gpu(rig: Rig, reason: str) -> None:
    scales, batch = SIZES[reason]
    with pytest.raises(ShapeError, match=reason):
        rig.kernel.workspace_bytes(scales, batch)
    with pytest.raises(ShapeError, match=reason):
        rig.kernel.launch(
            scales, batch, np.float32, OutputPointers(16, 16, 16, 1 << 20), rig.stream()
        )


@pytest.mark.parametrize(("answers", "scale", "reason"), POINTERS)
def test_refused_call_leaves_the_gpu_as_it_was(
    rig: Rig, answers: OutputPointers, scale: Scale, reason: str
) -> None:
    with pytest.raises(ShapeError, match=reason):
        rig.kernel.launch([scale], 1, np.float32, answers, rig.stream())
    bound = drawn(rig, [(300, 3)], 2, torch.float32)
    assert bound.run().same_bits(bound.run())
