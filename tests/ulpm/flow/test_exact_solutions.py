"""The flow from starts whose solution is known exactly: the collapsed ray, Hadamard starts, and the ray of focal loss.

The closed forms are evaluated in 50 digits and the singular values by scipy; nothing is compared with the core itself.
"""

import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp
from oracles import characters, collapsed_ray, hadamard_flow
from torch import Tensor

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked")  # they cost several times what the flow itself does

# K, n, d and the margins q₀ of the replicas, which start at different times of the same curve.
RAYS = [
    (2, 5, 3, (1.0, 3.0)),
    (3, 1, 2, (0.3, 1.0)),
    (4, 5, 20, (1.0, 0.1)),
    (7, 3, 6, (5.0, 0.5)),
    (10, 8, 9, (1.0, 9.0)),
    (20, 2, 25, (0.05, 2.0)),
]


def ray_starts(problem: ulpm.Problem, margins: tuple[float, ...]) -> ulpm.State:
    """Collapsed states, a replica a margin: ρ² = 2(K−1)√n·q."""
    root = math.sqrt(problem.class_counts[0])
    norms = [math.sqrt(2 * (problem.num_classes - 1) * root * q) for q in margins]
    states = [ulpm.collapsed_state(problem, norm=norm) for norm in norms]
    return ulpm.State(torch.stack([state.W for state in states]), torch.stack([state.H for state in states]))


def margins_of(problem: ulpm.Problem, W: Tensor, H: Tensor) -> Tensor:
    """All N(K − 1) margins of one state."""
    Z = W @ H
    others = torch.ones_like(Z, dtype=torch.bool).scatter_(0, problem.labels[None], False)
    return (Z.gather(0, problem.labels[None]) - Z)[others]


@pytest.mark.parametrize(
    ("K", "n", "d", "starts", "rtol", "bound", "final"),
    [(*sizes, 1e-6, 1e-6, 1e-11) for sizes in RAYS]
    + [pytest.param(*sizes, 1e-9, 5e-9, 1e-13, marks=[pytest.mark.slow] * (sizes[0] > 3)) for sizes in RAYS],
)
def test_the_collapsed_ray_is_followed_to_ten_to_the_million(
    K: int, n: int, d: int, starts: tuple[float, ...], rtol: float, bound: float, final: float
) -> None:
    problem = ulpm.Problem([n] * K, d)
    state = ray_starts(problem, starts)
    path = ulpm.gradient_flow(problem, state, log10_time=1e6, rtol=rtol, records=28, snapshots=28)
    assert path.finished
    assert path.snapshots is not None
    late = [i for i in range(28) if float(path.log_time[i].min()) >= math.log(100)]
    assert len(late) >= 20
    for i in late:
        for b, q0 in enumerate(starts):
            q, log_loss = collapsed_ray(path.log_time[i, b], q0, K, n)
            from_norm = float(path.squared_norm[i, b]) / (2 * (K - 1) * math.sqrt(n))
            margins = margins_of(problem, path.snapshots.W[i, b], path.snapshots.H[i, b])
            errors = {
                "q from ρ²": relative(from_norm, q),
                "mean margin": relative(margins.mean(), q),
                "smallest margin": relative(path.margin[i, b], q),
                "log L": relative(path.log_loss[i, b], log_loss),
            }
            allowed = final if i == 27 else bound
            assert max(errors.values()) <= allowed, (i, q0, errors)


def test_the_oracle_of_the_ray_gives_known_digits() -> None:
    q, _ = collapsed_ray(1000 * math.log(10), 1.0, 4, 5)
    assert float(q) == pytest.approx(2313.215214616103, rel=1e-15)
    q, _ = collapsed_ray(1e6 * math.log(10), 1.0, 4, 5)
    assert float(q) == pytest.approx(2302602.626704727, rel=1e-15)


def test_the_oracle_of_the_ray_solves_its_equation() -> None:
    """By a difference quotient: dq/dt = 2√n q·K e^(−q)/(1 + (K−1) e^(−q)), at a time when every term counts."""
    K, n, h = 5, 3, 1e-6
    (low, _), (q, _), (high, _) = (collapsed_ray(math.log(t), 0.4, K, n) for t in (0.2 - h, 0.2, 0.2 + h))
    expected = 2 * mp.sqrt(n) * q * K * mp.exp(-q) / (1 + (K - 1) * mp.exp(-q))
    assert float((high - low) / (2 * h) / expected) == pytest.approx(1, abs=1e-8)


def test_the_constants_of_the_late_flow_are_those_of_the_ray() -> None:
    """L·t·log t → v*/2 and ρ²/log t → 2v*, each with its next term; (log q/q)² is left."""
    for K, n, d, starts in (RAYS[2], RAYS[5]):
        problem = ulpm.Problem([n] * K, d)
        path = ulpm.gradient_flow(problem, ray_starts(problem, starts), log10_time=1e4, rtol=1e-7, records=2)
        v, log_time = problem.minimum_norm_value, path.log_time[-1]
        q = path.squared_norm[-1] / (2 * v)
        loss = torch.exp(path.log_loss[-1] + log_time) * log_time / (v / 2)
        norm = path.squared_norm[-1] / log_time / (2 * v)
        shift = q.log() + math.log(2 * K * math.sqrt(n))
        rest = (shift / q).square()
        assert bool(((loss - 1 - (1 - shift) / q).abs() <= 2 * rest).all()), (K, n)
        assert bool(((norm - 1 - shift / log_time).abs() <= 2 * rest).all()), (K, n)
        assert bool(((loss - 1).abs() > 5 * rest).all())  # the next term is there


def hadamard_start(
    problem: ulpm.Problem, sigma: np.ndarray, seed: int, imbalance: np.ndarray | None = None
) -> tuple[ulpm.State, Tensor, Tensor]:
    """W = Φ diag(a) Qᵀ, H = Q diag(b) Φᵀ with σ = ab and a² − n b² = c: the state, Φ [K, K−1] and Q [d, d]."""
    K, n, d = problem.num_classes, problem.class_counts[0], problem.feature_dim
    values = torch.from_numpy(sigma)
    c = torch.zeros(K - 1, dtype=torch.float64) if imbalance is None else torch.from_numpy(imbalance)
    # a² solves x² − c x − n σ² = 0.
    a = ((c + (c.square() + 4 * n * values.square()).sqrt()) / 2).sqrt()
    phi = torch.from_numpy(characters(K)[:, 1:]) / math.sqrt(K)
    Q = torch.from_numpy(np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0])
    W = phi * a @ Q[:, : K - 1].T
    H = (Q[:, : K - 1] * (values / a) @ phi.T)[:, problem.labels]
    return ulpm.State(W, H.contiguous()), phi, Q


def seen_from_the_start(problem: ulpm.Problem, states: ulpm.Snapshots, phi: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """σ [S, K−1], and what of W and H is not of the form Φ diag(a) Qᵀ, Q diag(b) Φᵀ, relative to ‖W‖ and ‖H‖ [S]."""
    n, basis = problem.class_counts[0], Q[:, : problem.num_classes - 1]
    spread = phi[problem.labels]
    a = torch.diagonal(phi.T @ states.W @ basis, dim1=-2, dim2=-1)
    b = torch.diagonal(basis.T @ states.H @ spread / n, dim1=-2, dim2=-1)
    turned = torch.maximum(
        (states.W - phi * a[:, None] @ basis.T).norm(dim=(1, 2)) / states.W.norm(dim=(1, 2)),
        (states.H - basis * b[:, None] @ spread.T).norm(dim=(1, 2)) / states.H.norm(dim=(1, 2)),
    )
    return a * b, turned


def relative(got: float | Tensor, want: mpmath.mpf) -> float:
    return float(abs(mp.mpf(float(got)) / want - 1))


@pytest.mark.parametrize(("K", "n", "d", "log10_time"), [(4, 5, 3, 4), (4, 3, 6, 40), (8, 2, 8, 4), (8, 1, 9, 120)])
def test_from_a_hadamard_start_the_singular_vectors_stay_and_the_values_solve_their_equation(
    K: int, n: int, d: int, log10_time: float
) -> None:
    problem = ulpm.Problem([n] * K, d)
    sigma = np.random.default_rng(d).permutation(np.geomspace(0.3, 3, K - 1))
    start, phi, Q = hadamard_start(problem, sigma, seed=d)
    path = ulpm.gradient_flow(problem, start, log10_time=log10_time, rtol=1e-10, records=30, snapshots=30)
    assert path.finished
    assert path.snapshots is not None
    got, turned = seen_from_the_start(problem, path.snapshots, phi, Q)
    want = hadamard_flow(sigma, n, path.log_time.numpy())
    assert np.abs(got.numpy() / want - 1).max() <= 1e-9
    assert float(turned.max()) <= 1e-10
    # From far apart they came closer.
    assert np.ptp(np.log(want[-1])) < 0.7 * np.ptp(np.log(want[0]))


@pytest.mark.parametrize(("K", "n", "d"), [(4, 5, 3), pytest.param(8, 2, 8, marks=pytest.mark.slow)])
def test_a_hadamard_start_ends_on_the_collapsed_ray_even_at_ten_to_the_million(K: int, n: int, d: int) -> None:
    """By scipy until all σ agree to 1e-13; from then on by the closed form, in which an earlier start is forgotten."""
    problem = ulpm.Problem([n] * K, d)
    sigma = np.exp(np.random.default_rng(K).normal(size=K - 1))
    start, phi, Q = hadamard_start(problem, sigma, seed=d)
    path = ulpm.gradient_flow(problem, start, log10_time=1e6, rtol=1e-10, records=40, snapshots=40)
    assert path.snapshots is not None
    got, turned = seen_from_the_start(problem, path.snapshots, phi, Q)
    met = 40.0 * K
    early, late = path.log_time <= met, path.log_time >= met + 40
    assert min(int(early.sum()), int(late.sum())) >= 10
    want = hadamard_flow(sigma, n, [*path.log_time[early].tolist(), met])
    assert np.ptp(want[-1]) < 1e-13 * want[-1].mean()
    assert np.abs(got[early].numpy() / want[:-1] - 1).max() <= 1e-9
    # t − t_met = t_ray(q) − t_ray(q_met), and both t_met and t_ray(q_met) are below e^(−40) t.
    rays = np.array([float(collapsed_ray(log_time, 1.0, K, n)[0]) for log_time in path.log_time[late]])
    errors = np.abs(got[late].numpy() / rays[:, None] - 1).max(1)
    assert errors.max() <= 1e-9
    assert errors[-1] <= 1e-13
    assert float(turned.max()) <= 1e-10


def test_without_balance_the_difference_of_a_and_b_enters() -> None:
    """σ̇ = √(c² + 4nσ²)(1 − Σ p χ) with c = a² − n b², which is conserved; 2√n σ alone would be far off."""
    problem = ulpm.Problem([3] * 4, 5)
    sigma, c = np.array([0.5, 1.0, 2.0]), np.array([4.0, -3.0, 1.0])
    start, phi, Q = hadamard_start(problem, sigma, seed=1, imbalance=c)
    path = ulpm.gradient_flow(problem, start, log10_time=10, rtol=1e-10, records=20, snapshots=20)
    assert path.snapshots is not None
    got, turned = seen_from_the_start(problem, path.snapshots, phi, Q)
    want = hadamard_flow(sigma, 3, path.log_time.numpy(), imbalance=c)
    assert np.abs(got.numpy() / want - 1).max() <= 1e-9
    assert np.abs(got.numpy() / hadamard_flow(sigma, 3, path.log_time.numpy()) - 1).max() > 0.01
    assert float(turned.max()) <= 1e-10


def test_singular_vectors_of_another_basis_do_not_stay() -> None:
    """The test of frozen vectors can fail: an orthogonal basis that is no table of characters turns."""
    problem = ulpm.Problem([2] * 4, 3)
    start, phi, Q = hadamard_start(problem, np.array([0.5, 1.0, 2.0]), seed=0)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    other = ulpm.State(phi @ turn @ phi.T @ start.W, start.H)
    path = ulpm.gradient_flow(problem, other, log10_time=2, rtol=1e-10, records=5, snapshots=5)
    assert path.snapshots is not None
    _, turned = seen_from_the_start(problem, path.snapshots, phi @ turn, Q)
    assert float(turned.max()) > 0.1


def focal_ray(q: float, q0: float, K: int, n: int, gamma: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """(log t, log L) at the margin q: t = (K−1)/(2√n K) ∫ dq/(−q φ′(q)), by Gauss–Legendre quadrature in 25 digits."""
    with mp.workdps(25):

        def log_phi(s: mpmath.mpf) -> mpmath.mpf:
            x = mp.log(K - 1) - s
            return gamma * (x - mp.log1p(mp.exp(x))) + mp.log(mp.log1p(mp.exp(x)))

        def log_minus_slope(s: mpmath.mpf) -> mpmath.mpf:
            ex = (K - 1) * mp.exp(-s)
            e = ex / (1 + ex)
            return log_phi(s) + mp.log(gamma * (1 - e) + e / mp.log1p(ex))

        # Of the integrand, which grows like e^((1 + γ) q), nothing below q − 60 counts.
        q, low = mp.mpf(q), max(mp.mpf(q0), mp.mpf(q) - 60)
        top = log_minus_slope(q)
        integral = mp.quad(
            lambda s: mp.exp(top - log_minus_slope(s)) / s, mp.linspace(low, q, 9), method="gauss-legendre"
        )
        return mp.log(integral) - top + mp.log((K - 1) / (2 * mp.sqrt(n) * K)), mp.log(n * K) + log_phi(q)


@pytest.mark.parametrize(
    ("gamma", "K", "n", "q0"), [(1.0, 4, 5, 0.5), pytest.param(2.0, 3, 1, 1.0, marks=pytest.mark.slow)]
)
def test_focal_loss_follows_its_ray_to_its_own_constants(gamma: float, K: int, n: int, q0: float) -> None:
    """dq/dt = −2q nK φ′(q)/((K−1)√n); L·t·log t → v*/(2κ) and ρ²/log t → 2v*/κ with κ = 1 + γ."""
    problem = ulpm.Problem([n] * K, K, loss=ulpm.Focal(gamma))
    path = ulpm.gradient_flow(problem, ray_starts(problem, (q0,)), log10_time=1e6, rtol=1e-9, records=24)
    assert path.finished
    v, kappa = problem.minimum_norm_value, 1 + gamma
    for i in range(24):
        if float(path.log_time[i, 0]) < math.log(100):
            continue
        q = float(path.squared_norm[i, 0]) / (2 * v)
        log_t, log_loss = focal_ray(q, q0, K, n, gamma)
        assert relative(path.log_time[i, 0], log_t) <= (1e-12 if i == 23 else 2e-8)
        assert relative(path.log_loss[i, 0], log_loss) <= (1e-12 if i == 23 else 2e-8)
    q, log_t = (float(x) for x in (path.squared_norm[-1, 0] / (2 * v), path.log_time[-1, 0]))
    # The next terms: −φ′ → κ(K−1)^κ e^(−κq), so that κq − log t → log q + log(2√n K (K−1)^γ κ²) =: shift.
    shift = math.log(q) + math.log(2 * math.sqrt(n) * K * kappa**2) + gamma * math.log(K - 1)
    loss = math.exp(float(path.log_loss[-1, 0]) + log_t) * log_t / (v / (2 * kappa))
    assert abs(loss - 1) < 2e-5
    assert abs(loss - 1 - (1 - shift) / (kappa * q)) < 1e-6
    assert abs(float(path.squared_norm[-1, 0]) / log_t / (2 * v / kappa) - 1 - shift / log_t) < 1e-9
