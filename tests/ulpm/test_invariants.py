"""What is conserved, and its drift where the whole matrix is too much to compute at each record."""

import pytest
import torch

import ulpm
from ulpm import invariants
from ulpm.invariants import invariants_of
from ulpm.state import Factors

PROBLEM = ulpm.Problem([20] * 5, feature_dim=40)


def drift(change: float, seed: int, rank: int) -> tuple[float, float]:
    """The drift of balancedness where ``rank`` rows of H have changed by a share, and what it is by definition."""
    generator = torch.Generator().manual_seed(seed)
    W, H = PROBLEM.random_state(seed=seed).factors[:2]
    moved = H.clone()
    moved[:rank] += change * torch.randn(rank, H.shape[1], generator=generator, dtype=torch.float64)
    rho = (W.square().sum() + moved.square().sum()).sqrt()[None]
    balancedness = invariants_of(PROBLEM)[0]
    start = balancedness.of(Factors(W[None], H[None], None), ulpm.distributed.ALONE)
    at = Factors(W[None], moved[None], None)
    found = balancedness.drift(at, start, torch.zeros(1, dtype=torch.float64), rho)
    want = torch.linalg.matrix_norm(W.mT @ W - moved @ moved.mT - start[0]) / rho.square()
    return float(found), float(want)


def test_the_drift_of_balancedness_is_that_of_the_whole_matrix() -> None:
    found, want = drift(1e-3, 0, 40)
    assert found == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 40])
def test_where_the_matrix_is_large_its_drift_is_estimated_within_the_stated_error(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "_MOST", 0)
    ratios = torch.tensor([found / want for found, want in (drift(1e-3, seed, rank) for seed in range(30))])
    # The signs are the same each time, the changes are not: a relative standard deviation of 18% at most.
    assert ratios.std() < 0.2
    assert abs(ratios.square().mean() - 1) < 3 * (2 / 16 / 30) ** 0.5


def test_an_estimated_drift_resolves_what_the_whole_matrix_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "_MOST", 0)
    for change in (0.0, 1e-13):
        found, want = drift(change, 3, 40)
        assert found == pytest.approx(want, rel=0.4, abs=1e-16)
