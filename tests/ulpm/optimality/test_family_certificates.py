"""Certificates of the whole family: every state encloses the minimum of Φ, and the minimum encloses itself."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from factored_oracle import loss_and_gradient, minimum, objective

import ulpm
from ulpm import CrossEntropy, Focal, Problem, SquaredError, State, certify
from ulpm.optimality import has_certificate, optimum
from ulpm.optimality.bias import best_bias, dual_logits

LOSSES = {"ce": CrossEntropy(), "smoothed": CrossEntropy(0.1), "squared": SquaredError()}
KINDS = {"ce": ("ce", 0.0), "smoothed": ("ce", 0.1), "squared": ("squared", 0.0)}
# counts, d, (λ_W, λ_H), reduction, bias
SETTINGS = [
    ([1, 1], 2, (0.1, 0.02), "sum", False),
    ([3] * 4, 5, (5e-3, 1e-3), "mean", False),
    ([5] * 3, 2, (0.3, 0.05), "sum", True),
    ([4, 3, 1], 3, (0.02, 0.3), "sum", False),
    ([9, 3, 3, 1], 4, (2e-3, 8e-3), "mean", True),
    ([7, 7, 2, 1, 1], 6, (0.2, 0.05), "sum", True),
    ([20, 1], 2, (1e-6, 1e-5), "mean", True),
    ([2] * 8, 8, (1e-4, 1e-8), "sum", True),
    ([6, 3, 2], 3, (30.0, 3.0), "sum", True),
    ([6, 3, 2], 3, (1e-10, 1e-10), "sum", False),
]
settings = pytest.mark.parametrize(("counts", "d", "decay", "reduction", "bias"), SETTINGS)
kinds = pytest.mark.parametrize("kind", KINDS)


def random_state(problem, seed, scale, replicas=4):
    state = problem.random_state(seed=seed, scale=scale, replicas=replicas)
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((replicas, problem.num_classes)))
    return State(state.W, state.H, scale * noise) if problem.bias else state


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".")
    assert not re.search(r"\n|[.!?]\s+[A-Z]", text), text
    return text


def arrays(state):
    b = torch.zeros(len(state.W)).double() if state.b is None else state.b
    return state.W.numpy(), state.H.numpy(), b.numpy()


# --- any state -------------------------------------------------------------------------------------------------------


@settings
@kinds
@pytest.mark.usefixtures("unchecked")
def test_bounds_of_any_state_enclose_the_optimum(kind, counts, d, decay, reduction, bias):
    problem = Problem(counts, d, LOSSES[kind], decay, bias, reduction)
    value = optimum(problem).value
    for seed, scale in enumerate((1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0)):
        found = certify(problem, random_state(problem, seed, scale))
        assert bool((found.lower_bound >= 0).all())
        assert bool((found.lower_bound <= value * (1 + 1e-14)).all()), (scale, found.lower_bound / value - 1)
        assert bool((found.nuclear_upper_bound >= value * (1 - 1e-13)).all())
        assert bool((found.upper_bound >= found.nuclear_upper_bound).all())
        for column in (found.stationarity, found.complementarity):
            assert bool(((column >= 0) & (column <= 2)).all())


@settings
@kinds
@pytest.mark.parametrize("size", [1e-12, 1e-10, 1e-8, 1e-5, 1e-2])
@pytest.mark.usefixtures("unchecked")
def test_the_gap_of_a_state_near_the_optimum_is_as_small_as_its_error(kind, counts, d, decay, reduction, bias, size):
    problem = Problem(counts, d, LOSSES[kind], decay, bias, reduction)
    found = optimum(problem)
    if found.state is None:
        pytest.skip("rank of the optimum exceeds d")
    noise = random_state(problem, 7, 1.0)
    state = State(
        *(None if x is None else x + size * e for x, e in zip(found.state.factors, noise.factors, strict=True))
    )
    certificate = certify(problem, state)
    assert bool((certificate.lower_bound <= found.value * (1 + 1e-14)).all())
    assert bool((certificate.nuclear_upper_bound >= found.value * (1 - 1e-14)).all())
    # Errors of the logits are relative ones of G for cross-entropy; Y − Z, of the size of the price, has absolute ones.
    reach = sum(float(torch.linalg.matrix_norm(part, 2)) for part in (state.W[0], state.H[0]))
    price = math.sqrt(decay[0] * decay[1]) * (sum(counts) if reduction == "mean" else 1)
    tolerance = 30 * (size * reach + 1e-15) * max(1.0, price, 1 / price if kind == "squared" else 0.0)
    if tolerance < 0.1:
        assert bool(certificate.holds(tolerance).all()), certificate.gap / tolerance


@settings
@kinds
def test_at_the_optimum_everything_closes(kind, counts, d, decay, reduction, bias):
    problem = Problem(counts, d, LOSSES[kind], decay, bias, reduction)
    found = optimum(problem)
    if found.state is None:
        pytest.skip("rank of the optimum exceeds d")
    certificate = certify(problem, found.state)
    for bound in (certificate.lower_bound, certificate.nuclear_upper_bound, certificate.upper_bound):
        # Squared error: G = Y − Z is what rounding leaves of labels, relative to a decay of 1e-10.
        assert float(bound) == pytest.approx(found.value, rel=1e-8 if min(decay) > 1e-9 else 1e-4)
    assert float(certificate.stationarity) <= (1e-8 if min(decay) > 1e-9 else 1e-4)
    assert float(certificate.complementarity) <= (1e-8 if min(decay) > 1e-9 else 1e-4)


@pytest.mark.parametrize("kind", ["ce", "smoothed"])
def test_ten_settings_close_at_the_point_that_newtons_method_finds_in_the_factors(kind):
    for counts, _, decay, reduction, bias in SETTINGS[:6]:
        K = len(counts)
        value, W, H, b = minimum(*KINDS[kind], counts, K, decay, reduction, bias)
        problem = Problem(counts, K, LOSSES[kind], decay, bias, reduction)
        state = State(*map(torch.from_numpy, (W, H)), torch.from_numpy(b) if bias else None)
        certificate = certify(problem, state)
        assert float(certificate.lower_bound) == pytest.approx(value, rel=1e-11)
        assert float(certificate.nuclear_upper_bound) == pytest.approx(value, rel=1e-13)


# --- definitions -----------------------------------------------------------------------------------------------------


@settings
@kinds
def test_columns_are_what_their_formulas_say(kind, counts, d, decay, reduction, bias):
    problem = Problem(counts, d, LOSSES[kind], decay, bias, reduction)
    state = random_state(problem, 3, 0.7, replicas=1)[0]
    W, H, b = arrays(state)
    certificate = certify(problem, state)
    value, *gradient = objective(*KINDS[kind], counts, decay, reduction, bias, W, H, b)
    assert float(certificate.upper_bound) == pytest.approx(value, rel=1e-13)
    λ_W, λ_H = decay
    flat = np.concatenate([part.ravel() for part in gradient])
    of_decay = np.concatenate([λ_W * W.ravel(), λ_H * H.ravel(), 0 * b])
    residual = np.linalg.norm(flat) / (np.linalg.norm(flat - of_decay) + np.linalg.norm(of_decay))
    assert float(certificate.stationarity) == pytest.approx(residual, rel=1e-10)

    unit, c = (sum(counts) if reduction == "mean" else 1), math.sqrt(λ_W * λ_H)
    labels = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))[None]
    best = best_bias(LOSSES[kind], state.W @ state.H, labels, state.b).numpy() if bias else b
    L, G = loss_and_gradient(*KINDS[kind], counts, W @ H + best[:, None])
    L, G = L / unit, -G / unit
    if bias:
        assert np.abs(G.sum(1)).max() <= 1e-13 * np.abs(G).sum()
    size = np.linalg.svd(W @ H, compute_uv=False).sum()
    assert float(certificate.nuclear_upper_bound) == pytest.approx(L + c * size, rel=1e-12)
    s = min(1.0, c / np.linalg.norm(G, 2))
    assert float(certificate.complementarity) == pytest.approx(1 - s * (G * (W @ H)).sum() / (c * size), rel=1e-8)
    # The Fenchel bound, by maximising over distributions or by completing the square.
    if kind == "squared":
        Y = np.repeat(np.eye(len(counts)), counts, axis=1)
        shares = np.linspace(0, c / np.linalg.norm(G, 2), 2001)[:, None, None]
        proved = ((shares * G * Y).sum((1, 2)) - unit * np.square(shares * G).sum((1, 2)) / 2).max()
        assert float(certificate.lower_bound) == pytest.approx(proved, rel=1e-4)
    else:
        α, K = KINDS[kind][1], len(counts)
        targets = np.repeat((1 - α) * np.eye(K) + α / K, counts, axis=1)
        P = targets - s * unit * G
        assert float(certificate.lower_bound) == pytest.approx(-np.sum(P * np.log(P + 1e-300)) / unit, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_dual_logits_balance_the_residual_whatever_the_bias_is(kind, scale):
    counts = [5, 3, 1, 7]
    rng = np.random.default_rng(4)
    Z, b = (torch.from_numpy(scale * rng.standard_normal(shape)) for shape in ((3, 4, 16), (3, 4)))
    rows = torch.from_numpy(np.repeat(np.arange(4), counts)).expand(3, 1, 16)
    if kind == "squared":
        b = best_bias(LOSSES[kind], Z, rows)
    dual = dual_logits(LOSSES[kind], Z, b, rows, torch.tensor(counts).double())
    for logits in dual.numpy():
        _, G = loss_and_gradient(*KINDS[kind], counts, logits)
        assert np.abs(G.sum(1)).max() <= 1e-13 * max(1.0, np.abs(G).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 10.0])
def test_the_best_bias_is_that_of_scipy_and_never_worse_than_its_start(smoothing, scale):
    from scipy.optimize import minimize

    counts, rng = [5, 3, 1, 7], np.random.default_rng(5)
    Z, start = scale * rng.standard_normal((6, 4, 16)), scale * rng.standard_normal((6, 4))
    rows = torch.from_numpy(np.repeat(np.arange(4), counts)).expand(6, 1, 16)
    found = best_bias(CrossEntropy(smoothing), torch.from_numpy(Z), rows, torch.from_numpy(start)).numpy()
    for one, b, first in zip(Z, found, start, strict=True):

        def loss(b, one=one):
            value, G = loss_and_gradient("ce", smoothing, counts, one + b[:, None])
            return value, G.sum(1)

        options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000}
        best = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", options=options)
        assert loss(b)[0] <= min(loss(first)[0], best.fun) * (1 + 1e-13)
        assert np.abs(loss(b)[1]).max() <= 1e-12 * 16


# --- no decay --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossEntropy(0.1), SquaredError()])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bias", [False, True])
def test_without_decay_the_least_loss_is_the_lower_bound(loss, reduction, bias):
    problem = Problem([4, 2, 1], 3, loss, bias=bias, reduction=reduction)
    best = optimum(problem)
    for scale in (1e-3, 1.0, 30.0):
        found = certify(problem, random_state(problem, 1, scale))
        torch.testing.assert_close(
            found.lower_bound, torch.full((4,), best.value, dtype=torch.float64), rtol=1e-14, atol=0
        )
        assert bool((found.upper_bound >= best.value).all())
        assert torch.equal(found.upper_bound, found.nuclear_upper_bound)
        assert torch.equal(found.complementarity, torch.zeros(4).double())
        assert bool((found.stationarity > 1e-5).all())
    there = certify(problem, best.state)
    assert float(there.upper_bound) == pytest.approx(best.value, rel=1e-13, abs=1e-28)
    assert float(there.stationarity) <= 1e-14


def test_the_relative_gap_to_an_optimum_of_0_is_infinite_and_the_words_leave_it_out():
    problem = Problem([2, 2], 2, SquaredError())
    certificate = certify(problem, problem.random_state())
    assert math.isinf(float(certificate.gap))
    assert str(certificate) == f"The optimum lies in [0, {float(certificate.upper_bound):.8g}]."


# --- margins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(2.0)])
@pytest.mark.parametrize("counts", [[3] * 4, [5, 2, 1]])
def test_with_a_bias_margins_are_those_of_the_product_alone(loss, counts):
    K = len(counts)
    problem, plain = Problem(counts, K, loss, bias=True), Problem(counts, K, loss)
    best = ulpm.minimum_norm_separation(plain).state
    b = torch.from_numpy(np.random.default_rng(1).standard_normal(K))
    state, alone = State(3 * best.W, 3 * best.H, b), State(3 * best.W, 3 * best.H)
    found, without = certify(problem, state), certify(plain, alone)
    for name in ("upper_bound", "nuclear_upper_bound"):
        assert float(getattr(found, name)) == pytest.approx(plain.minimum_norm_value, rel=1e-9)
        assert torch.equal(getattr(found, name), getattr(without, name))
    assert 0 < float(found.lower_bound) <= plain.minimum_norm_value * (1 + 1e-12)
    assert float(found.complementarity) <= 1e-9
    zero = certify(problem, State(alone.W, alone.H, torch.zeros_like(b)))
    for name, value in without.columns().items():
        torch.testing.assert_close(zero.columns()[name], value, rtol=1e-13, atol=1e-14)


# --- shapes, words, refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "bias", "rank"),
    [(CrossEntropy(), False, 3), (CrossEntropy(0.2), True, 3), (SquaredError(), False, 4), (SquaredError(), True, 3)],
)
def test_the_relaxation_is_tight_from_the_rank_of_the_optimum_on(loss, bias, rank):
    for d in (rank - 1, rank):
        problem = Problem([2] * 4, d, loss, (0.01, 0.01), bias)
        certificate = certify(problem, problem.random_state())
        assert certificate.relaxation_tight == (d == rank) == optimum(problem).tight
        assert ("not tight" in str(certificate)) == (d < rank)


@kinds
@pytest.mark.parametrize("bias", [False, True])
def test_replicas_are_certified_each_on_its_own(kind, bias):
    problem = Problem([4, 3, 1], 3, LOSSES[kind], (0.1, 0.02), bias)
    state = random_state(problem, 2, 2.0, replicas=6)
    nested = State(*(None if x is None else x.unflatten(0, (2, 3)) for x in state.factors))
    batch, deep = certify(problem, state), certify(problem, nested)
    for i in range(6):
        for name, value in certify(problem, state[i]).columns().items():
            torch.testing.assert_close(batch.columns()[name][i], value, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(deep.columns()[name][i // 3, i % 3], value, rtol=1e-9, atol=1e-12)


def test_a_zero_state_of_a_heavy_decay_is_the_optimum():
    for loss in LOSSES.values():
        problem = Problem([3] * 3, 3, loss, (10.0, 10.0))
        zero = State(torch.zeros(3, 3).double(), torch.zeros(3, 9).double())
        certificate = certify(problem, zero)
        assert bool(certificate.holds(1e-14))
        assert float(certificate.stationarity) == float(certificate.complementarity) == 0


REFUSED = [
    (Focal(2.0), (0.1, 0.1), "not convex"),
    (CrossEntropy(), (0.1, 0.0), "only one decay"),
    (SquaredError(), (0.0, 0.1), "only one decay"),
    (Focal(2.0), (0.0, 0.1), "only one decay"),
]


@pytest.mark.parametrize(("loss", "decay", "words"), REFUSED)
@pytest.mark.usefixtures("unchecked")
def test_problems_without_a_certificate_are_known_and_refused_in_one_sentence(loss, decay, words):
    problem = Problem([2, 2], 2, loss, decay)
    assert not has_certificate(problem)
    with pytest.raises(ValueError, match=words) as error:
        certify(problem, problem.random_state())
    one_sentence(error)


def test_all_others_have_one():
    for loss in (*LOSSES.values(), Focal(0.0), Focal(1.0)):
        for decay in ((0.0, 0.0), (0.1, 0.2)):
            if not (loss == Focal(1.0) and decay[0]):
                problem = Problem([2, 1], 2, loss, decay, bias=True)
                assert has_certificate(problem)
                certify(problem, problem.random_state(scale=2.0))


WORKER = """
import sys, torch, ulpm
from ulpm.distributed import torchrun_shard
from ulpm.objective import Objective
from ulpm.optimality.certificate import certificate_at
from ulpm.state import Factors

torch.set_num_threads(1)
with torchrun_shard("cpu") as shard:
    for loss in (ulpm.CrossEntropy(), ulpm.CrossEntropy(0.1), ulpm.SquaredError(), ulpm.Focal(1.0)):
        for decay in ((0.0, 0.0), (0.1, 0.02)):
            for bias in (False, True):
                if loss == ulpm.Focal(1.0) and decay[0]:
                    continue
                problem = ulpm.Problem([3, 2, 4], 5, loss, decay, bias, "mean")
                W, H, b = problem.random_state(seed=1, scale=2.0, replicas=2).factors
                b = None if b is None else W[..., 0].clone()
                alone = certificate_at(Objective(problem), Factors(W, H, b)).columns()
                own = H[..., shard.part(problem.num_samples)].contiguous()
                together = certificate_at(Objective(problem, shard=shard), Factors(W, own, b)).columns()
                for name, value in alone.items():
                    torch.testing.assert_close(together[name], value, rtol=1e-9, atol=1e-12, msg=f"{problem} {name}")
"""


@pytest.mark.slow
def test_two_processes_give_the_certificate_of_one(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
