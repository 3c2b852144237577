from pathlib import Path

import numpy as np
import torch
from fakes.prn import Squares, normal_pictures, tiny_prn

from trainer.training.shards import (
    average_statistics,
    copy_statistics,
    mean_of,
    replicas,
    single_cores,
    split_batch,
)
from trainer.training.training_step import OptimizerConfig, TrainingState


def statistics(head: torch.nn.Module) -> list[torch.Tensor]:
    return [each for name, each in head.named_buffers() if name.endswith("running_mean")]


def test_every_picture_is_in_one_shard() -> None:
    batch = Squares(normal_pictures(), size=7).batch(1)
    shards = split_batch(batch, 3)
    assert [len(shard.frames) for shard in shards] == [3, 2, 2]
    for start, shard in enumerate(shards):
        assert np.array_equal(shard.frames, batch.frames[start::3])
        assert np.array_equal(shard.masks, batch.masks[start::3])
        assert np.array_equal(shard.normals, batch.normals[start::3])


def test_shards_have_half_of_the_anomalies_each() -> None:
    shards = split_batch(Squares(normal_pictures(), size=8).batch(1), 2)
    assert [int(shard.masks.any(axis=(1, 2)).sum()) for shard in shards] == [2, 2]


def test_twins_share_weights_but_not_statistics(tmp_path: Path) -> None:
    head, twin = replicas(tiny_prn(tmp_path).network.head.train(), 2)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(1)
    pairs = zip(head.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    statistics(head)[0].fill_(2)
    statistics(twin)[0].fill_(4)
    average_statistics([head, twin])
    assert (statistics(head)[0] == 3).all()
    assert (statistics(twin)[0] == 3).all()
    statistics(head)[0].fill_(7)
    copy_statistics([head, twin])
    assert (statistics(twin)[0] == 7).all()


def test_weights_move_alike_on_one_thread_and_on_two(tmp_path: Path) -> None:
    """The gradients of shards, worked off in turn, against those of threads side by side."""
    batch = Squares(normal_pictures(), size=8).batch(1)
    gradients = []
    for threads in (1, 2):
        made = tiny_prn(tmp_path)
        state = TrainingState(made.network, made.normals, OptimizerConfig())
        with single_cores(threads) as pool:
            parts = list(pool.map(state._part, state._heads, split_batch(batch, 2)))
        gradients.append(
            [mean_of(pair) for pair in zip(*(p.gradients for p in parts), strict=True)]
        )
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_threads_keep_to_one_core_and_leave_the_caller_as_it_was() -> None:
    before = torch.get_num_threads()
    with single_cores(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1, 1, 1, 1]
    assert torch.get_num_threads() == before
