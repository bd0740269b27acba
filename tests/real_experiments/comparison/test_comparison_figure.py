"""The clock of the figure never runs backwards."""

import numpy as np

from real_experiments.comparison.figure import _falling


def test_a_network_is_drawn_against_its_lowest_loss_so_far() -> None:
    loss = np.random.default_rng(0).lognormal(size=50)
    loss[[0, 7, 20]] = np.nan
    drawn = _falling(loss)
    for i, value in enumerate(loss):
        before = [x for x in loss[: i + 1] if not np.isnan(x)]
        assert (np.isnan(value) and np.isnan(drawn[i])) or drawn[i] == min(before)
    assert (np.diff(drawn[~np.isnan(drawn)]) <= 0).all()
