"""Batches hold every sample once, in an order of their own; epochs to measure are dense at first, then log-spaced."""

import pytest
import torch

from real_experiments.schedule import (
    epoch_batches,
    log_spaced_epochs,
    measured_epochs,
    snapshot_epochs,
    steps_per_epoch,
)


@pytest.mark.parametrize(
    ("samples", "batch", "sizes"),
    [
        (60, 16, [16, 16, 16, 12]),
        (64, 16, [16] * 4),
        (33, 16, [16, 17]),  # a single sample left over joins the batch before it
        (18, 16, [16, 2]),
        (5, 16, [5]),
        (1, 16, [1]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 3]),
    ],
)
def test_an_epoch_has_every_sample_once_and_keeps_the_last_batch(samples: int, batch: int, sizes: list[int]) -> None:
    batches = epoch_batches(samples, batch, seed=0, epoch=1)
    assert [len(indices) for indices in batches] == sizes
    assert steps_per_epoch(samples, batch) == len(sizes)
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(samples))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(epoch_batches(50, 7, seed, epoch)).tolist()

    torch.manual_seed(1)
    first = order(3, 5)
    torch.manual_seed(2)
    assert order(3, 5) == first
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(1, 5)}) == 16


def test_the_first_twenty_epochs_are_measured_and_then_eight_a_doubling_and_the_last() -> None:
    epochs = measured_epochs(203)
    assert epochs[:20] == list(range(1, 21))
    assert epochs[-1] == 203
    later = [epoch for epoch in epochs if 32 <= epoch < 64]
    assert len(later) == 8
    assert {2 * epoch for epoch in epochs if 21 <= epoch <= 100} <= set(epochs)
    assert measured_epochs(3) == [1, 2, 3]
    assert measured_epochs(30, per_doubling=0) == [*range(1, 21), 30]


def test_a_longer_run_is_measured_at_the_epochs_of_a_shorter_one() -> None:
    assert set(measured_epochs(100)) - {100} <= set(measured_epochs(500))


def test_snapshots_are_log_spaced_and_taken_when_the_network_is_measured() -> None:
    assert snapshot_epochs(100) == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 46, 64, 92, 100]
    assert snapshot_epochs(100, per_doubling=0) == [100]
    assert set(snapshot_epochs(3000)) <= set(measured_epochs(3000))
    assert log_spaced_epochs(1, 2) == [1]
