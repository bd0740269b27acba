import math
import re

import numpy as np
import pytest
import torch

import ulpm
from ulpm import Problem
from ulpm.geometry import block_state, collapsed_state, seli_state, simplex_etf

BLOCKS = [(4, 2), (6, 2), (6, 3), (9, 3)]


def one_sentence(text):
    """One full stop, at the end."""
    text = str(text.value) if isinstance(text, pytest.ExceptionInfo) else text
    assert text.endswith(".")
    assert not re.search(r"\n|[.!?]\s+[A-Z]", text), text
    return text


def margins(state, labels):
    """q_{ij} = Z_{y_i,i} − Z_{j,i} [K, N], 0 on the label row."""
    Z = state.W @ state.H
    return Z.gather(0, labels[None]) - Z


def columns_of_multipliers(multipliers, labels):
    """G(λ), column i of which is Σ_j λ_{ij} (e_{y_i} − e_j), from λ [K, N], whose label row is 0."""
    return -multipliers + torch.zeros_like(multipliers).scatter(0, labels[None], multipliers.sum(0, keepdim=True))


def assert_balanced_with_norm(state, rho):
    gram = state.W.T @ state.W
    torch.testing.assert_close(gram, state.H @ state.H.T, rtol=0, atol=1e-14 * rho**2)
    assert math.sqrt(state.squared_norm) == pytest.approx(rho, rel=1e-14)
    torch.testing.assert_close(state.W.sum(0), torch.zeros_like(state.W[0]), rtol=0, atol=1e-15 * len(state.W) * rho)


@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 2), (4, 9), (50, 49), (100, 512)])
def test_the_simplex_frame_has_unit_vectors_at_equal_angles(K, d):
    V = simplex_etf(K, d)
    assert V.shape == (K, d)
    assert V.dtype == torch.float64
    gram = torch.full((K, K), -1 / (K - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(V @ V.T, gram, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        V.T @ V, K / (K - 1) * torch.diag((torch.arange(d) < K - 1).double()), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("state_of", [collapsed_state, seli_state])
@pytest.mark.parametrize(("K", "n", "d"), [(2, 1, 1), (3, 4, 2), (10, 5, 64), (40, 1, 39)])
@pytest.mark.parametrize("norm", [1.0, 1e-3, 1e5])
def test_balanced_states_have_collapsed_and_reach_the_optimum(state_of, K, n, d, norm):
    problem = Problem([n] * K, d)
    state = state_of(problem, norm)
    assert_balanced_with_norm(state, norm)
    assert max(ulpm.neural_collapse(state.W, state.H, problem.labels).values()) < 1e-13
    value = norm**2 / 2 / float(ulpm.margin(problem, state))
    assert value == pytest.approx((K - 1) * math.sqrt(n), rel=1e-13)


@pytest.mark.parametrize("counts", [[6, 3, 2], [40, 40, 4, 4], [1, 1000], [1, 1000, 1, 30], [5] * 7])
def test_simplex_encoded_labels_have_equal_margins_and_the_optimal_value(counts):
    problem = Problem(counts, len(counts) + 1)
    state = seli_state(problem, 3.0)
    assert_balanced_with_norm(state, 3.0)
    q = margins(state, problem.labels)
    off_label = torch.arange(len(counts))[:, None] != problem.labels
    torch.testing.assert_close(q[off_label], q[off_label].mean().expand(int(off_label.sum())), rtol=1e-12, atol=0)
    value = 3.0**2 / 2 / float(ulpm.margin(problem, state))
    assert value == pytest.approx(problem.minimum_norm_value, rel=1e-12)


@pytest.mark.parametrize(("K", "b"), BLOCKS)
@pytest.mark.parametrize("n", [1, 3])
def test_a_block_state_is_a_kkt_point_of_value_k_root_n(K, b, n):
    problem = Problem([n] * K, K - K // b)
    state = block_state(problem, b, 2.0)
    assert_balanced_with_norm(state, 2.0)
    assert 2.0**2 / 2 / float(ulpm.margin(problem, state)) == pytest.approx(K * math.sqrt(n), rel=1e-13)
    assert_kkt_point(problem, state, b)


@pytest.mark.parametrize(("counts", "b"), [([7, 7, 2, 2], 2), ([1, 1, 1, 9, 9, 9, 4, 4, 4], 3), ([500, 500, 1, 1], 2)])
def test_blocks_of_unequal_counts_are_kkt_points_as_well(counts, b):
    problem = Problem(counts, 12)
    state = block_state(problem, b, 5.0)
    assert_balanced_with_norm(state, 5.0)
    assert 5.0**2 / 2 / float(ulpm.margin(problem, state)) == pytest.approx(np.sqrt(counts).sum(), rel=1e-13)
    assert_kkt_point(problem, state, b)


def assert_kkt_point(problem, state, b):
    """Stationarity W = G Hᵀ, H = Wᵀ G, λ ≥ 0, and λ = 0 where q > 1, of the state scaled to q_min = 1."""
    y, counts = problem.labels, torch.tensor(problem.class_counts, dtype=torch.float64)
    scale = 1 / math.sqrt(ulpm.margin(problem, state))
    W, H = state.W * scale, state.H * scale
    other_block = (torch.arange(len(W)) // b)[:, None] != (y // b)
    multipliers = other_block / ((len(W) - b) * counts[y].sqrt())
    G = columns_of_multipliers(multipliers, y)
    size = float(H.abs().max() + W.abs().max())
    torch.testing.assert_close(G @ H.T, W, rtol=0, atol=1e-13 * size)
    torch.testing.assert_close(W.T @ G, H, rtol=0, atol=1e-13 * size)
    slack = margins(state, y) * scale**2 - 1
    assert float((multipliers * slack).abs().max()) < 1e-13


def test_a_block_state_is_not_collapsed():
    problem = Problem([2] * 4, 4)
    state = block_state(problem)
    assert float(ulpm.neural_collapse(state.W, state.H, problem.labels)["nc2_angle_means"]) > 0.1


UNEQUAL = Problem([5, 3, 3, 2], 4)
BAD = {
    "one class": (lambda: simplex_etf(1, 3), ValueError, ["num_classes must be at least 2", "1"]),
    "a float": (lambda: simplex_etf(3.0, 3), TypeError, ["num_classes must be an integer", "3.0"]),
    "a frame in too few dimensions": (lambda: simplex_etf(5, 3), ValueError, ["rank 4", "feature_dim is 3"]),
    "collapse in too few": (lambda: collapsed_state(Problem([2] * 4, 2)), ValueError, ["rank 3", "at least 3"]),
    "encoded labels in too few": (lambda: seli_state(Problem([2, 3, 4], 1)), ValueError, ["rank 2", "at least 2"]),
    "blocks in too few": (lambda: block_state(Problem([2] * 6, 3), 3), ValueError, ["2 blocks of 3", "rank 4"]),
    "collapse of unequal counts": (lambda: collapsed_state(UNEQUAL), ValueError, ["5, 3, 3, 2", "use seli_state"]),
    "many unequal counts": (lambda: collapsed_state(Problem([2, *[3] * 99], 99)), ValueError, ["2, 3, 3, 3, 3, 3, …"]),
    "unequal counts in a block": (lambda: block_state(UNEQUAL), ValueError, ["classes 0 … 1 have 5, 3", "equal"]),
    "blocks that do not fit": (lambda: block_state(Problem([2] * 5, 9)), ValueError, ["split the 5 classes", "2 was"]),
    "one block": (lambda: block_state(Problem([2] * 4, 9), 4), ValueError, ["at least 2 equal blocks", "4 was given"]),
    "blocks of one": (lambda: block_state(Problem([2] * 4, 9), 1), ValueError, ["block_size must be at least 2"]),
    "norm zero": (lambda: seli_state(UNEQUAL, 0.0), ValueError, ["norm must be above 0", "0.0"]),
    "a negative norm": (lambda: block_state(Problem([2] * 4, 9), norm=-1), ValueError, ["norm must be above 0"]),
    "norm NaN": (lambda: seli_state(UNEQUAL, math.nan), ValueError, ["norm", "nan"]),
    "a word": (lambda: collapsed_state(Problem([2] * 4, 9), "big"), TypeError, ["norm must be a number", "big"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("build", "error", "parts"), BAD.values(), ids=BAD.keys())
def test_a_geometry_that_does_not_exist_is_one_clear_sentence(build, error, parts):
    with pytest.raises(error) as message:
        build()
    for part in parts:
        assert part in one_sentence(message)
