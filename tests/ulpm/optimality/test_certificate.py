import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from oracles import collapsed_arrays, exact, exact_loss_and_field, in_digits, random_arrays
from runtime_checks import without_checks

from ulpm import Problem, State, gradient_flow
from ulpm.optimality import Certificate, certify

VALUES = ("lower_bound", "upper_bound", "nuclear_upper_bound", "gap", "stationarity", "complementarity")
NO_BOUND = ("upper_bound", "nuclear_upper_bound", "stationarity", "complementarity")


def near_collapse(counts, d, gap, noise=1e-3, seed=3):
    W, H, _ = collapsed_arrays(seed, counts, d, gap, noise)
    return Problem(counts, d), State(torch.tensor(W), torch.tensor(H))


@pytest.fixture(scope="module")
def run():
    """K = 4, n = 5, d = 20 to log t = 1e5, every record with its state."""
    problem = Problem([5] * 4, 20)
    with without_checks():
        path = gradient_flow(problem, problem.random_state(seed=0), log_time=1e5, records=80, snapshots=80)
    return path, certify(problem, State(path.snapshots.W, path.snapshots.H))


# --- along the flow --------------------------------------------------------------------------------------------------


def test_the_bounds_enclose_the_optimum_at_every_separating_record(run):
    path, certificate = run
    optimum = 3 * math.sqrt(5)
    separates = path.margin > 0
    assert 40 < int(separates.sum()) < len(separates)
    # The bounds are distances of order 1/log t from the optimum, far above rounding.
    assert bool((certificate.lower_bound <= optimum).all())
    assert bool((certificate.nuclear_upper_bound[separates] >= optimum).all())
    assert bool((certificate.upper_bound >= certificate.nuclear_upper_bound).all())
    assert bool(torch.isinf(certificate.upper_bound[~separates]).all())


def test_the_relative_gap_closes_like_one_over_log_time(run):
    path, certificate = run
    assert float(certificate.gap[-1]) <= 1e-4
    late = path.log_time > 1e3
    x, y = path.log_time[late].log().numpy(), certificate.gap[late].log().numpy()
    # A least-squares slope over two decades, with corrections of relative order 1/log t.
    assert np.polyfit(x, y, 1)[0] == pytest.approx(-1, abs=0.03)


@pytest.mark.parametrize("counts", [[6, 3, 2], pytest.param([40, 40, 4, 4], marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_with_unequal_counts_the_bounds_close_on_the_simplex_encoded_optimum(counts):
    problem = Problem(counts, 20)
    # At rtol 1e-6 the gap of (40, 40, 4, 4) is the integrator's error, 2.8e-4; the flow's own is 2.7e-5.
    state = gradient_flow(problem, problem.random_state(seed=0), log_time=1e5, rtol=1e-7, records=2).final_state
    certificate = certify(problem, state)
    assert float(certificate.lower_bound) <= problem.minimum_norm_value <= float(certificate.nuclear_upper_bound)
    assert float(certificate.gap) <= 1e-4


@pytest.mark.usefixtures("unchecked")
def test_below_full_rank_the_gap_stays_open_and_the_certificate_says_so():
    problem = Problem([5] * 6, 3)
    state = gradient_flow(problem, problem.random_state(seed=0), log_time=1e4, records=2).final_state
    certificate = certify(problem, state)
    relaxation = 5 * math.sqrt(5)  # its value, (K − 1)√n, needs rank 5
    assert float(certificate.lower_bound) <= relaxation * (1 + 1e-12)
    assert float(certificate.nuclear_upper_bound) >= relaxation
    assert float(certificate.gap) > 0.1
    assert not certificate.relaxation_tight
    assert "not tight" in str(certificate)
    assert not bool(certificate.holds(0.1))


# --- the definition, and any point -----------------------------------------------------------------------------------


@in_digits
def exact_certificate(W, H, labels):
    """The numbers of a certificate from their definitions, one constraint at a time, in 50 digits."""
    K, N = len(W), H.shape[1]
    W, H = exact(W), exact(H)
    log_loss, _, _ = exact_loss_and_field(W, H, labels)
    Z = W * H
    R, p, q = mp.zeros(K, N), {}, {}
    for i in range(N):
        y = int(labels[i])
        odds = {j: mp.exp(Z[j, i] - Z[y, i]) for j in range(K) if j != y}
        for j, value in odds.items():
            p[i, j], q[i, j] = value / (1 + mp.fsum(odds.values())) / mp.exp(log_loss), Z[y, i] - Z[j, i]
            R[y, i] += p[i, j]
            R[j, i] -= p[i, j]
    squared_norm = mp.mnorm(W, "f") ** 2 + mp.mnorm(H, "f") ** 2
    smallest = min(q.values())
    singular_values = [mp.sqrt(abs(x)) for x in mp.eigsy(Z * Z.T, eigvals_only=True)]
    slack = mp.fsum(p[key] * (q[key] - smallest) for key in p) / (smallest * mp.fsum(p.values()))
    W_force, H_force = R * H.T, W.T * R
    c = (frobenius(W, W_force) + frobenius(H, H_force)) / (frobenius(W_force, W_force) + frobenius(H_force, H_force))
    rest = mp.mnorm(W - c * W_force, "f") ** 2 + mp.mnorm(H - c * H_force, "f") ** 2
    return {
        "lower_bound": mp.fsum(p.values()) / mp.sqrt(max(mp.eigsy(R * R.T, eigvals_only=True))),
        "upper_bound": squared_norm / 2 / smallest,
        "nuclear_upper_bound": mp.fsum(singular_values) / smallest,
        "stationarity": mp.sqrt(rest / squared_norm),
        "complementarity": slack,
    }


def frobenius(a, b):
    return mp.fsum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("gap", [1.0, 30.0, 1e3, 1e5])
@pytest.mark.parametrize(("counts", "d"), [([2] * 3, 4), ([3, 1, 2], 3), ([2, 2], 5)])
@pytest.mark.usefixtures("unchecked")
def test_every_number_agrees_with_its_definition_in_fifty_digits(counts, d, gap):
    problem, state = near_collapse(counts, d, gap)
    got, want = certify(problem, state), exact_certificate(state.W, state.H, problem.labels)
    # A margin is right to eps·gap, and so is the logarithm of a multiplier; complementarity is a difference of margins.
    error = 50 * torch.finfo(torch.float64).eps * (1 + gap)
    for name, value in want.items():
        relative, absolute = (error, error) if name in ("stationarity", "complementarity") else (error, 0)
        assert float(getattr(got, name)) == pytest.approx(float(value), rel=relative, abs=absolute), name


problems = st.lists(st.integers(1, 4), min_size=2, max_size=5)


@given(st.integers(0, 2**32 - 1), problems, st.integers(1, 6), st.sampled_from([1e-3, 0.3, 3.0, 30.0]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_multipliers_of_any_point_are_feasible_in_the_dual_and_their_sum_is_the_lower_bound(seed, counts, d, scale):
    W, H, labels = random_arrays(seed, counts, d, scale)
    K, N = len(counts), len(labels)
    bound = float(certify(Problem(counts, d), State(torch.tensor(W), torch.tensor(H))).lower_bound)
    Z = W @ H
    gaps = np.where(np.arange(K)[:, None] == labels, -np.inf, Z - Z[labels, np.arange(N)])
    top = gaps.max()  # a common factor of all multipliers
    p = np.exp(gaps - np.logaddexp(0, np.logaddexp.reduce(gaps, axis=0)) - min(top, 0))
    G = np.zeros((K, N))
    for i, j in np.ndindex(N, K):
        G[labels[i], i] += p[j, i]
        G[j, i] -= p[j, i]
    assert bound == pytest.approx(p.sum() / np.linalg.norm(G, 2), rel=1e-10)
    relaxation = np.linalg.svd((np.eye(K) - 1 / K) * np.sqrt(counts), compute_uv=False).sum()
    assert bound <= relaxation * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1), problems, st.integers(4, 6), st.sampled_from([1e-3, 1.0, 30.0]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_upper_bounds_of_separating_points_are_above_the_optimum(seed, counts, d, gap):
    problem, state = near_collapse(counts, d, gap, noise=0.05, seed=seed)
    certificate = certify(problem, state)
    if bool(certificate.upper_bound < torch.inf):
        assert float(certificate.nuclear_upper_bound) >= problem.minimum_norm_value * (1 - 1e-12)
        assert float(certificate.upper_bound) >= float(certificate.nuclear_upper_bound) * (1 - 1e-12)


def test_at_a_loss_of_e_to_minus_a_million_the_bounds_meet():
    problem, state = near_collapse([3] * 4, 6, 1e6, noise=0)
    certificate = certify(problem, state)
    # Features divided among factors of unequal norms: the trace bound is not tight here, the nuclear one is.
    for bound in (certificate.lower_bound, certificate.nuclear_upper_bound):
        assert float(bound) == pytest.approx(3 * math.sqrt(3), rel=1e-9)
    assert bool(certificate.holds(1e-8))


def test_where_nothing_separates_only_the_lower_bound_exists():
    problem = Problem([3, 2, 2], 4)
    zero = State(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64))
    for state in (problem.random_state(seed=1), zero):
        certificate = certify(problem, state)
        assert all(bool(torch.isposinf(getattr(certificate, name))) for name in NO_BOUND)
        assert 0 < float(certificate.lower_bound) <= problem.minimum_norm_value
        assert not bool(certificate.holds(1e3))
        assert "separates nothing" in str(certificate)


# --- invariances, shapes and costs -----------------------------------------------------------------------------------


def assert_equal_certificates(got: Certificate, want: Certificate, rel: float, names=VALUES) -> None:
    for name in names:
        torch.testing.assert_close(getattr(got, name), getattr(want, name), rtol=rel, atol=rel)


def test_replicas_are_certified_each_on_its_own():
    problem = Problem([3, 1, 2], 4)
    state = problem.random_state(seed=1, scale=3.0, replicas=6)
    W, H, _ = collapsed_arrays(0, [3, 1, 2], 4, 20.0)
    state.W[2], state.H[2] = torch.tensor(W), torch.tensor(H)
    nested = State(state.W.reshape(2, 3, 3, 4), state.H.reshape(2, 3, 4, 6))
    batch, deep = certify(problem, state), certify(problem, nested)
    for b in range(6):
        alone = certify(problem, State(state.W[b], state.H[b]))
        for name in VALUES:
            assert float(getattr(batch, name)[b]) == pytest.approx(float(getattr(alone, name)), rel=1e-12)
            assert float(getattr(deep, name)[b // 3, b % 3]) == pytest.approx(float(getattr(alone, name)), rel=1e-12)
    assert len(str(batch).splitlines()) == 6


def test_a_rotation_of_feature_space_changes_nothing():
    problem, state = near_collapse([3, 2, 4], 5, 40.0, noise=0.02)
    Q = torch.tensor(np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0])
    assert_equal_certificates(certify(problem, State(state.W @ Q.T, Q @ state.H)), certify(problem, state), 1e-11)


def test_bounds_that_know_only_the_logits_do_not_depend_on_how_they_are_factored():
    problem, state = near_collapse([3, 2, 4], 5, 40.0, noise=0.02)
    stretched = certify(problem, State(7 * state.W, state.H / 7))
    names = ("lower_bound", "nuclear_upper_bound", "gap", "complementarity")
    assert_equal_certificates(stretched, certify(problem, state), 1e-11, names)


def test_a_float32_state_gets_the_certificate_of_the_same_numbers_in_float64():
    problem, state = near_collapse([3] * 3, 4, 1e3)
    single = State(state.W.float(), state.H.float())
    want = certify(problem, State(single.W.double(), single.H.double()))
    assert_equal_certificates(certify(problem, single), want, 0.0)


@pytest.mark.usefixtures("unchecked")
def test_a_state_of_another_problem_is_refused():
    with pytest.raises(ValueError, match="H must have shape"):
        certify(Problem([2, 2], 3), Problem([2, 3], 3).random_state())
    with pytest.raises(TypeError, match=r"must be an ulpm\.State"):
        certify(Problem([2, 2], 3), "state")


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_sixty_thousand_samples_take_less_than_two_seconds():
    problem = Problem([6000] * 10, 512)
    state = problem.random_state()
    certify(problem, state)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        certify(problem, state)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 2


@pytest.mark.usefixtures("unchecked")
def test_a_state_whose_norm_overflows_gets_one_sentence():
    problem = Problem([2, 2], 3)
    with pytest.raises(ValueError, match="so large that its logits or its norm overflow"):
        certify(problem, problem.random_state(scale=1e155))


def test_records_that_a_replica_did_not_reach_are_left_out_of_the_words():
    problem = Problem([2, 2], 3)
    state = problem.random_state(seed=0, replicas=2)
    state.W[1], state.H[1] = 0, 0
    certificate = gradient_flow(problem, state, log_time=3.0, records=4).certificate
    assert torch.isnan(certificate.lower_bound[1:, 1]).all()
    assert "nan" not in str(certificate)
    assert len(str(certificate).splitlines()) == 4 + 1
