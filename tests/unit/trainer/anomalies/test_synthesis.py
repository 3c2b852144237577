from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.anomalies.blend import LEAST_CHANGE
from trainer.anomalies.synthesis import AnomalyKinds, Synthesis, SyntheticBatch, draw_shares
from trainer.anomalies.textures import ProceduralTextures
from trainer.errors import DatasetError
from trainer.seen import SeenPictures

SIDE = 32
NORMALS = 12
EXTENDED = AnomalyKinds(heterologous=False, homologous=False)
HETEROLOGOUS = AnomalyKinds(extended=False, homologous=False)
HOMOLOGOUS = AnomalyKinds(extended=False, heterologous=False)


def part_pictures(count: int, shade: float = 1.0) -> np.ndarray:
    """Dark discs on a light table, which gets darker towards one corner."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(y - SIDE / 2, x - SIDE / 2) < SIDE / 3
    clean = np.where(disc[..., None], (60, 70, 90), (220, 220, 215))
    clean = clean - shade * (0.6 * x + y)[..., None]
    noisy = clean + rng.normal(0, 2, (count, SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def seen_pictures() -> tuple[np.ndarray, np.ndarray]:
    """The discs with a bright square on each."""
    pictures, masks = part_pictures(3), np.zeros((3, SIDE, SIDE), np.bool_)
    masks[:, 13:18, 14:19] = True
    pictures[masks] = (250, 240, 40)
    return pictures, masks


def first_seen(count: int) -> SeenPictures:
    pictures, masks = seen_pictures()
    return SeenPictures(pictures[:count], masks[:count])


def make(
    kinds: AnomalyKinds = AnomalyKinds(),  # noqa: B008
    seed: int = 5,
    seen: int = 3,
    rarity: np.ndarray | None = None,
) -> Synthesis:
    textures = ProceduralTextures((SIDE, SIDE), 1, tiles=11)
    normals = part_pictures(NORMALS)
    return Synthesis(normals, first_seen(seen), textures, kinds, 16, seed, rarity)


def groups(batch: SyntheticBatch) -> tuple[slice, slice, slice]:
    size = len(batch.frames)
    return slice(0, size // 2), slice(size // 2, 3 * size // 4), slice(3 * size // 4, size)


def equal(one: SyntheticBatch, other: SyntheticBatch) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("frames", "masks", "normals")
    )


@pytest.fixture(scope="module")
def synthesis() -> Synthesis:
    return make()


@given(step=st.integers(0, 10**9))
def test_batch_is_half_normal_a_quarter_extended_a_quarter_simulated(
    synthesis: Synthesis, step: int
) -> None:
    batch = synthesis.batch(step)
    normal, extended, simulated = groups(batch)
    assert batch.frames.shape == (16, SIDE, SIDE, 3)
    assert batch.frames.dtype == np.uint8
    assert batch.masks.dtype == np.float32
    assert not batch.masks[normal].any()
    assert np.array_equal(batch.frames[normal], part_pictures(NORMALS)[batch.normals[normal]])
    assert (batch.normals[extended] >= -1).all()
    assert (batch.normals[simulated] >= 0).all()


def test_simulated_anomalies_are_less_certain_than_seen_ones(synthesis: Synthesis) -> None:
    masks = np.stack([synthesis.batch(step).masks for step in range(5)])
    _, extended, simulated = groups(synthesis.batch(0))
    assert set(np.unique(masks[:, extended])) == {0.0, 1.0}
    least, most = np.unique(masks[:, simulated])
    assert (least, 0 < most < 1) == (0.0, True)


def test_simulated_anomalies_are_certain_where_none_was_seen_or_the_paper_is_followed() -> None:
    assert set(np.unique(make(seen=0).batch(0).masks)) == {0.0, 1.0}
    assert set(np.unique(make(AnomalyKinds(certainty=1)).batch(0).masks)) == {0.0, 1.0}


@pytest.mark.parametrize("switches", [HETEROLOGOUS, HOMOLOGOUS])
def test_mask_marks_exactly_what_a_simulated_anomaly_changed(switches: AnomalyKinds) -> None:
    batch = make(switches).batch(0)
    base = part_pictures(NORMALS)[batch.normals].astype(int)
    change = np.abs(batch.frames.astype(int) - base).max(axis=3)
    assert (change[batch.masks == 0] < LEAST_CHANGE).all()
    marked = batch.masks[8:] > 0
    assert marked.any(axis=(1, 2)).all()
    shown = (change[8:] >= LEAST_CHANGE) & marked
    assert shown.sum() > 0.8 * marked.sum()  # the rest: gaps that an anomaly encloses


def test_nothing_but_a_soft_edge_changes_outside_the_mask_of_an_extended_anomaly() -> None:
    batch = make(EXTENDED).batch(0)
    made = np.flatnonzero(batch.normals >= 0)
    base = part_pictures(NORMALS)[batch.normals[made]].astype(int)
    change = np.abs(batch.frames[made].astype(int) - base).max(axis=3) >= LEAST_CHANGE
    marked = batch.masks[made] > 0
    assert marked[made >= len(batch.frames) // 2].any(axis=(1, 2)).all()
    square = np.ones((9, 9), np.uint8)
    near = np.stack([cv2.dilate(mask.astype(np.uint8), square) for mask in marked]) > 0
    assert not (change & ~near).any()


def test_batch_depends_on_seed_and_step_alone() -> None:
    one, other = make(), make()
    for step in (7, 0, 3):
        one.batch(step)
    assert equal(one.batch(5), other.batch(5))
    assert not equal(one.batch(5), one.batch(6))
    assert not equal(one.batch(5), make(seed=6).batch(5))


def test_pictures_that_look_alike_from_all_sides_are_turned_and_mirrored() -> None:
    normals = part_pictures(NORMALS, shade=0)
    textures = ProceduralTextures((SIDE, SIDE), 1, tiles=11)
    batch = Synthesis(normals, first_seen(3), textures, AnomalyKinds(), 16, 1).batch(0)
    moved = batch.frames[:8][batch.normals[:8] < 0]
    assert len(moved)
    sides = [np.rot90(normals, turn, (1, 2)) for turn in range(4)]
    sides += [side[:, :, ::-1] for side in sides]
    for frame in moved:
        assert not (normals == frame).all(axis=(1, 2, 3)).any()
        assert any((side == frame).all(axis=(1, 2, 3)).any() for side in sides)
    assert (make().batch(0).normals[:8] >= 0).all()  # lit from one side, they stay as they are


def test_rarest_tenth_gets_a_third_of_the_draws_and_its_share_of_the_others() -> None:
    rarity = np.arange(20.0)
    shares = draw_shares(rarity)
    assert shares.sum() == pytest.approx(1)
    assert shares[18:].sum() == pytest.approx(1 / 3 + 2 / 3 * 2 / 20)
    assert np.ptp(shares[:18]) == 0
    drawn = np.concatenate([make(rarity=rarity[:NORMALS]).batch(s).normals[:8] for s in range(40)])
    counts = np.bincount(drawn, minlength=NORMALS)
    assert counts.argmax() == NORMALS - 1
    assert (counts > 0).all()


def test_threads_get_the_batches_that_one_thread_gets(synthesis: Synthesis) -> None:
    alone = [synthesis.batch(step) for step in range(12)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(synthesis.batch, range(12)))
    assert all(map(equal, alone, together))


def test_making_batches_leaves_the_pictures_alone() -> None:
    normals = part_pictures(NORMALS)
    textures = ProceduralTextures((SIDE, SIDE), 1, tiles=11)
    seen = first_seen(3)
    synthesis = Synthesis(normals, seen, textures, AnomalyKinds(), 16, 1)
    for step in range(10):
        synthesis.batch(step).frames[:] = 0
    assert np.array_equal(normals, part_pictures(NORMALS))
    assert np.array_equal(seen.pixels, seen_pictures()[0])
    assert np.array_equal(seen.masks, seen_pictures()[1])


@pytest.mark.parametrize(
    ("switches", "seen"), [(AnomalyKinds(), 0), (AnomalyKinds(extended=False), 3), (HOMOLOGOUS, 3)]
)
def test_without_extended_anomalies_all_are_simulated(switches: AnomalyKinds, seen: int) -> None:
    batch = make(switches, seen=seen).batch(1)
    assert (batch.normals >= 0).all()
    assert batch.masks[8:].any(axis=(1, 2)).all()


def test_without_simulated_anomalies_all_are_extended() -> None:
    batches = [make(EXTENDED).batch(step) for step in range(4)]
    raw = sum(int((batch.normals == -1).sum()) for batch in batches)
    assert 0 < raw < 16  # a fifth of 32
    assert all((batch.normals[:8] >= 0).all() for batch in batches)


def test_raw_seen_anomaly_keeps_its_mask_true() -> None:
    batch = make(EXTENDED).batch(2)
    for index in np.flatnonzero(batch.normals == -1):
        yellow = batch.frames[index, ..., 2].astype(int) < 60
        yellow &= batch.frames[index, ..., 0] > 200
        assert (yellow & (batch.masks[index] > 0)).sum() > 0.7 * yellow.sum()


@pytest.mark.parametrize(
    ("switches", "batch_size", "seen"),
    [
        (EXTENDED, 16, 0),
        (AnomalyKinds(extended=False, heterologous=False, homologous=False), 16, 3),
        (AnomalyKinds(), 6, 3),
        (AnomalyKinds(), 0, 3),
    ],
)
def test_impossible_wishes_are_refused(switches: AnomalyKinds, batch_size: int, seen: int) -> None:
    textures = ProceduralTextures((SIDE, SIDE), 1, tiles=1)
    with pytest.raises(DatasetError, match=r"multiple of 4|switched off"):
        Synthesis(part_pictures(4), first_seen(seen), textures, switches, batch_size, 1)
