"""σ agrees with the oracle, Λ falls as its formula says, and the ratio max σ/min σ may grow for K = 16."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import characters, hadamard_flow
from torch import Tensor

import ulpm
from theory_experiments.numerics import hadamard
from theory_experiments.theorems.solved_flows import FULL
from theory_experiments.theorems.solved_flows.singular_values import singular_values


def rates(sigma: Tensor) -> Tensor:
    """σ̇/σ for n = 1 up to the factor 2, literally: 1 − Σ_g p(g) χ_s(g), p = softmax(z), z(g) = (1/K) Σ_s σ_s χ_s(g)."""
    K = sigma.shape[-1] + 1
    chi = torch.from_numpy(characters(K))
    z = sigma @ chi[:, 1:].T / K
    return 1 - torch.softmax(z, -1) @ chi[:, 1:]


def test_characters_are_those_of_scipy_and_other_sizes_are_refused() -> None:
    for K in (2, 4, 8, 16):
        assert np.array_equal(hadamard.characters(K).numpy(), characters(K))
    for K in (0, 1, 6, 12):
        with pytest.raises(ValueError, match="power of 2"):
            hadamard.characters(K)


def test_the_start_is_balanced_and_seen_as_what_it_was_made_of() -> None:
    problem = ulpm.Problem([3] * 4, 5)
    sigma = torch.tensor([[1.0, 2.0, 3.0], [0.1, 5.0, 0.7]], dtype=torch.float64)
    state = hadamard.start(problem, sigma)
    problem.check(ulpm.State(state.W[0], state.H[0]))
    assert torch.allclose(state.W.mT @ state.W, state.H @ state.H.mT, atol=1e-14)
    assert torch.allclose(torch.linalg.svdvals(state.W @ state.H)[:, :3], math.sqrt(3) * sigma.sort(1, True).values)
    snapshots = ulpm.Snapshots(torch.tensor([0]), state.W[None], state.H[None])
    found, turned = hadamard.seen(problem, snapshots)
    assert torch.allclose(found[0], sigma)
    assert float(turned.max()) < 1e-15
    # What is not of that form is seen: features that vary within a class, and a turned classifier.
    state.H[0, 0, 0] += 0.1
    state.W[1, 0, 4] += 0.1
    _, turned = hadamard.seen(problem, snapshots)
    assert float(turned.min()) > 0.01


def test_margins_are_differences_of_logits() -> None:
    problem = ulpm.Problem([2] * 8, 7)
    sigma = torch.rand(1, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = hadamard.start(problem, sigma)
    Z = (state.W @ state.H)[0]
    assert torch.allclose((Z[0, 0] - Z[:, 0])[1:], hadamard.margins(sigma)[0])
    assert float(ulpm.margin(problem, state)[0]) == pytest.approx(float(hadamard.margins(sigma).min()))


def test_the_reduced_flow_is_the_oracles() -> None:
    sigma = torch.tensor([[0.3, 1.0, 2.0], [4.0, 0.5, 0.6]], dtype=torch.float64)
    log_times = [-math.inf, 0.0, 5.0, 40.0]
    found = hadamard.reduced_flow(sigma, 5, log_times)
    for b in range(2):
        assert found[:, b].numpy() == pytest.approx(hadamard_flow(sigma[b].numpy(), 5, log_times), rel=1e-11)


sigmas = st.integers(2, 5).flatmap(
    lambda m: st.lists(st.floats(-4, 4), min_size=2**m - 1, max_size=2**m - 1).map(
        lambda logs: torch.tensor(logs, dtype=torch.float64).exp()
    )
)


@given(sigmas)
def test_the_rate_of_the_lyapunov_function_is_its_formula_and_never_positive(sigma: Tensor) -> None:
    sigma = sigma.requires_grad_()
    (gradient,) = torch.autograd.grad(hadamard.lyapunov(sigma), sigma)
    with torch.no_grad():
        velocity = sigma * rates(sigma)
        of_level = (gradient * velocity).sum()
        of_log_mean = velocity.mean() / sigma.mean()
        formula = (1 - sigma.mean() / hadamard.mean_margin(sigma)) * of_log_mean
        assert float(of_level - formula) == pytest.approx(0, abs=1e-12)
        assert float(of_level) <= 1e-13


@given(sigmas)
def test_the_lyapunov_function_is_log_of_arithmetic_over_geometric_mean(sigma: Tensor) -> None:
    direct = sigma.mean().log() - sigma.log().mean()
    assert float(hadamard.lyapunov(sigma)) == pytest.approx(float(direct), abs=1e-13)
    assert float(hadamard.lyapunov(sigma)) >= -1e-15


def test_the_lyapunov_function_resolves_deviations_far_below_rounding_of_its_logarithms() -> None:
    sigma = torch.tensor([1.0 + 2e-10, 1.0 - 2e-10, 1.0], dtype=torch.float64)
    assert float(hadamard.lyapunov(sigma)) == pytest.approx(4e-20 / 3, rel=1e-4)


@pytest.mark.parametrize("K", [4, 8])
def test_the_ratio_never_grows_for_four_and_eight_classes(K: int) -> None:
    generator = torch.Generator().manual_seed(K)
    sigma = (1.5 * torch.randn(3000, K - 1, generator=generator, dtype=torch.float64)).exp()
    rate = rates(sigma)
    at = (rate.gather(1, index(sigma, largest)) for largest in (True, False))
    assert float((next(at) - next(at)).max()) <= 1e-13


def index(sigma: Tensor, largest: bool) -> Tensor:
    return sigma.argmax(1, True) if largest else sigma.argmin(1, True)


def test_the_ratio_grows_from_the_last_start_of_sixteen_classes() -> None:
    """So the experiment's variant with the ratio fails for a reason, while Λ of the same start falls."""
    sigma = singular_values(FULL, 16)[-1:]
    path = hadamard.reduced_flow(sigma, 1, [-math.inf, -2.0, -1.0, 0.0, 1.0])
    assert float(hadamard.log_ratio(path)[:, 0].max() - hadamard.log_ratio(path)[0, 0]) > 0.02
    assert bool((hadamard.lyapunov(path)[:, 0].diff() < 0).all())
