import math

import numpy as np
import pytest
import torch
from mpmath import mp
from oracles import collapsed_arrays, exact, exact_loss_and_field, in_digits

from ulpm import Problem, State, log_loss
from ulpm.geometry import block_state, collapsed_state, seli_state
from ulpm.optimality import certify, sphere_critical_point

blocks = pytest.mark.parametrize(("K", "b"), [(4, 2), (6, 2), (6, 3), (9, 3)])
samples = pytest.mark.parametrize("n", [1, 3])
norms = pytest.mark.parametrize("norm", [3.0, 30.0, 100.0])


def flat(state):
    return torch.cat([state.W.flatten(), state.H.flatten()])


def dense(problem, state):
    """Eigenvalues of the tangential Hessian Π(∇²L + μI)Π/L on the tangent space, and μ/L, by autograd of log L."""
    shape = state.W.shape
    others = torch.stack([torch.tensor([j for j in range(shape[0]) if j != y]) for y in problem.labels.tolist()])

    def f(y):
        Z = (y[: state.W.numel()].view(shape) @ y[state.W.numel() :].view(shape[1], -1)).T
        gaps = Z.gather(1, others) - Z.gather(1, problem.labels[:, None])
        x = gaps.logsumexp(1)
        # log log(1 + e^x) = x − e^x/2 + …: below −36 its derivatives are those of x to float64.
        late = x < -36
        return torch.where(late, x, torch.log(torch.log1p(torch.where(late, 0.0, x).exp()))).logsumexp(0)

    y = flat(state)
    gradient = torch.autograd.functional.jacobian(f, y)
    hessian = torch.autograd.functional.hessian(f, y) + torch.outer(gradient, gradient)
    mu = -(gradient @ y) / (y @ y)
    tangents = torch.tensor(np.linalg.svd(y[None].numpy())[2][1:])
    values = torch.linalg.eigvalsh(tangents @ hessian @ tangents.T) + mu
    return values.numpy(), float(mu)


def moved(state, direction, angle):
    """The point at this angle along the geodesic of the sphere in ``direction``."""
    rho = math.sqrt(float(state.squared_norm))
    return State(
        math.cos(angle) * state.W + rho * math.sin(angle) * direction.W,
        math.cos(angle) * state.H + rho * math.sin(angle) * direction.H,
    )


def assert_direction_lowers_the_loss(problem, state, point, angle=1e-3):
    """Both ways, and by ½(ρ·angle)²·curvature to leading order."""
    before = float(log_loss(problem, state))
    expected = 0.5 * float(state.squared_norm) * angle**2 * point.min_curvature
    for sign in (1, -1):
        change = float(log_loss(problem, moved(state, point.direction, sign * angle))) - before
        # Corrections of relative order angle²ρ², rounding of log L.
        assert change == pytest.approx(expected, rel=0.05, abs=1e-15 * abs(before))
        assert change < 0


# --- block states ----------------------------------------------------------------------------------------------------


@blocks
@samples
@norms
@pytest.mark.parametrize("extra", [1, 3])
def test_with_a_free_direction_a_block_state_is_a_strict_saddle_of_the_closed_form_curvature(K, b, n, norm, extra):
    problem = Problem([n] * K, K - K // b + extra)
    state = block_state(problem, b, norm)
    point = sphere_critical_point(problem, state)
    values, mu = dense(problem, state)
    assert point.kind == "strict_saddle"
    assert point.multiplier == pytest.approx(mu, rel=1e-10)
    assert point.min_curvature == pytest.approx(point.multiplier - point.operator_norm, rel=1e-9)
    assert point.min_curvature == pytest.approx(values[0], rel=1e-9)
    assert_direction_lowers_the_loss(problem, state, point)


@blocks
@samples
@pytest.mark.parametrize("norm", [3.0, 30.0])
def test_without_a_free_direction_the_curvature_is_that_of_the_dense_hessian_and_not_the_bound(K, b, n, norm):
    problem = Problem([n] * K, K - K // b)
    state = block_state(problem, b, norm)
    point = sphere_critical_point(problem, state)
    values, mu = dense(problem, state)
    bound = point.multiplier - point.operator_norm
    assert point.min_curvature == pytest.approx(values[0], abs=1e-11 * norm**2 * mu)
    assert point.min_curvature > bound + 0.01 * mu
    # Blocks of two are flat to second order here; blocks of three fall, once they are large.
    falls = values[0] < -1e-6 * mu
    assert point.kind == ("strict_saddle" if falls else "undetermined")
    assert falls == (b == 3 and norm == 30.0)
    if falls:
        assert_direction_lowers_the_loss(problem, state, point)


@pytest.mark.parametrize("norm", [65.0, 1e3])
def test_a_saddle_is_found_at_any_loss_and_its_direction_goes_down(norm):
    """Blocks of two with n = 1: log L = log 8 − ρ²/8, e^−526 at ρ = 65 and e^−125,000 at ρ = 1000."""
    problem = Problem([1] * 4, 5)
    state = block_state(problem, 2, norm)
    assert float(log_loss(problem, state)) < math.log(1e-200)
    point = sphere_critical_point(problem, state)
    assert point.kind == "strict_saddle"
    # In the limit the multipliers between blocks are equal: μ/L = 1/4 = 2q/ρ², and ‖R‖_op/L = 1/2.
    assert point.multiplier == pytest.approx(0.25, rel=1e-9)
    assert point.min_curvature == pytest.approx(-0.25, rel=1e-9)
    assert_direction_lowers_the_loss(problem, state, point, angle=1e-4)


def test_the_four_class_block_point_has_the_known_spectrum():
    """W = H = 2A, n = 1: μ and ‖R‖_op are numbers of e⁻⁴ and e⁻², and the least curvature has multiplicity d − 2."""
    problem = Problem([1] * 4, 5)
    state = block_state(problem, 2, math.sqrt(16))
    point = sphere_critical_point(problem, state)
    values, _ = dense(problem, state)
    same, other = math.exp(-4), math.exp(-2)  # gaps inside and between blocks
    loss = 4 * math.log1p(same + 2 * other)
    total = 1 + same + 2 * other
    # Eigenvalues of R/L, with eigenvectors (1, −1, 0, 0), which W and H are made of, and (1, 1, −1, −1).
    inside, between = 2 * (same + other) / total / loss, 4 * other / total / loss
    assert point.multiplier == pytest.approx(inside, rel=1e-12)
    assert point.operator_norm == pytest.approx(max(inside, between), rel=1e-12)
    assert point.min_curvature / point.multiplier == pytest.approx(-0.7616, abs=5e-5)
    assert np.sum(np.abs(values - point.min_curvature) < 1e-9) == 5 - 2


@blocks
def test_a_rotated_saddle_is_the_same_saddle(K, b):
    problem = Problem([2] * K, K + 1)
    state = block_state(problem, b, 20.0)
    Q = torch.tensor(np.linalg.qr(np.random.default_rng(0).standard_normal((K + 1, K + 1)))[0])
    turned = sphere_critical_point(problem, State(state.W @ Q.T, Q @ state.H))
    assert turned.kind == "strict_saddle"
    assert turned.min_curvature == pytest.approx(sphere_critical_point(problem, state).min_curvature, rel=1e-10)


# --- global minima ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1e-2, 1.0, 10.0, 100.0, 1e3])
@pytest.mark.parametrize(("K", "n", "d"), [(2, 1, 1), (3, 4, 2), (4, 5, 20), (10, 3, 9)])
def test_the_simplex_frame_is_certified_as_global_minimum(K, n, d, norm):
    problem = Problem([n] * K, d)
    Q = torch.tensor(np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0])
    state = collapsed_state(problem, norm)
    point = sphere_critical_point(problem, State(state.W @ Q.T, Q @ state.H))
    assert point.kind == "global_minimum"
    assert point.operator_norm == pytest.approx(point.multiplier, rel=1e-8)
    # Rotations cost nothing, and nothing goes down.
    assert point.min_curvature >= -1e-8 * point.multiplier


@pytest.mark.parametrize("counts", [[6, 3, 2], [10, 1, 1, 1], [40, 40, 4, 4]])
@pytest.mark.parametrize("norm", [1.0, 30.0, 300.0])
def test_a_simplex_encoded_state_with_unequal_counts_is_not_critical(counts, norm):
    problem = Problem(counts, 6)
    point = sphere_critical_point(problem, seli_state(problem, norm))
    assert point.kind == "not_critical"
    assert point.tangential_gradient > 0.05
    assert point.multiplier <= point.operator_norm


@pytest.mark.parametrize("counts", [[3] * 5, [5, 2]], ids=["equal counts", "two classes"])
def test_with_equal_counts_or_two_classes_the_simplex_encoded_state_is_the_global_minimum(counts):
    """All its margins are equal, and so are its multipliers; those of the margin problem are as well in these cases."""
    problem = Problem(counts, 6)
    assert sphere_critical_point(problem, seli_state(problem, 10.0)).kind == "global_minimum"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_the_difference_of_operator_norm_and_multiplier_bounds_the_excess_of_the_loss(seed, scale):
    """L − min L ≤ ½ρ²(‖R‖_op − μ) for any point of the sphere, the minimum being that of the simplex frame."""
    problem = Problem([3] * 4, 5)
    state = problem.random_state(seed=seed, scale=scale)
    if seed == 4:  # one that is close
        state = moved(collapsed_state(problem, 4 * scale), sphere_critical_point(problem, state).direction, 0.05)
    point = sphere_critical_point(problem, state)
    squared_norm = float(state.squared_norm)
    least = collapsed_state(problem, math.sqrt(squared_norm))
    excess = 1 - math.exp(float(log_loss(problem, least) - log_loss(problem, state)))
    assert 0 < excess <= 0.5 * squared_norm * (point.operator_norm - point.multiplier)


@pytest.mark.parametrize("size", [1e-12, 1e-10])
def test_a_global_minimum_displaced_by_little_is_still_one_and_displaced_by_more_is_not_critical(size):
    problem = Problem([2] * 3, 3)
    state = collapsed_state(problem, 10.0)
    noise = problem.random_state(seed=1)
    near = State(state.W + size * noise.W, state.H + size * noise.H)
    assert sphere_critical_point(problem, near).kind == "global_minimum"
    far = State(state.W + 1e-4 * noise.W, state.H + 1e-4 * noise.H)
    assert sphere_critical_point(problem, far).kind == "not_critical"


# --- any point -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(
    ("counts", "d"), [([2] * 4, 2), ([3, 2, 1], 3), ([1] * 3, 1), ([4, 4], 1), ([1, 1], 1), ([2] * 3, 12)]
)
def test_at_any_point_the_least_curvature_along_geodesics_is_that_of_the_dense_hessian(counts, d, scale):
    problem = Problem(counts, d)
    state = problem.random_state(seed=3, scale=scale)
    point = sphere_critical_point(problem, state)
    values, mu = dense(problem, state)
    assert point.kind == "not_critical"
    assert point.multiplier == pytest.approx(mu, abs=1e-12)
    assert point.min_curvature == pytest.approx(values[0], abs=1e-11)
    assert point.min_curvature >= point.multiplier - point.operator_norm - 1e-12
    direction = flat(point.direction)
    assert float(direction.norm()) == pytest.approx(1, abs=1e-12)
    assert float(direction @ flat(state)) == pytest.approx(0, abs=1e-10 * scale)
    # Not upwards to first order, either.
    forth, back = (float(log_loss(problem, moved(state, point.direction, step))) for step in (1e-5, -1e-5))
    assert forth <= back + 1e-12


def test_many_products_do_not_cost_the_digits_of_the_curvature():
    """Gaps of 400 and a rank of d: a spectrum over four decades, and restarts of the iteration."""
    W, H, _ = collapsed_arrays(0, [4] * 5, 4, 400.0, noise=0.01)
    problem, state = Problem([4] * 5, 4), State(torch.tensor(W), torch.tensor(H))
    point = sphere_critical_point(problem, state)
    values, mu = dense(problem, state)
    assert values[-1] > 1e3 * mu
    assert point.min_curvature == pytest.approx(values[0], abs=1e-8 * point.operator_norm)


@pytest.mark.parametrize("gap", [30.0, 1e4])
@pytest.mark.usefixtures("unchecked")
def test_multiplier_and_tangential_gradient_agree_with_fifty_digits(gap):
    counts, d = [2, 1, 3], 4
    W, H, labels = collapsed_arrays(1, counts, d, gap)
    problem, state = Problem(counts, d), State(torch.tensor(W), torch.tensor(H))
    point = sphere_critical_point(problem, state)

    @in_digits
    def oracle():
        W, H = exact(state.W), exact(state.H)
        _, W_dot, H_dot = exact_loss_and_field(W, H, labels)
        pairs = list(zip([*W, *H], [*W_dot, *H_dot], strict=True))
        m = mp.fsum(x * f for x, f in pairs) / mp.fsum(x * x for x, _ in pairs)
        rest = mp.fsum((f - m * x) ** 2 for x, f in pairs) / mp.fsum(f * f for _, f in pairs)
        return float(m), float(mp.sqrt(rest))

    multiplier, tangential = oracle()
    error = 100 * torch.finfo(torch.float64).eps * gap
    assert point.multiplier == pytest.approx(multiplier, rel=error)
    assert point.tangential_gradient == pytest.approx(tangential, rel=10 * error)
    assert point.tangential_gradient == float(certify(problem, state).stationarity)


def test_a_critical_point_without_pull_is_a_saddle_as_well():
    """W = 0 and equal features: ∇L = 0 and μ = 0, yet classifier and features can leave together."""
    problem = Problem([2, 2, 2], 4)
    state = State(torch.zeros(3, 4, dtype=torch.float64), torch.ones(4, 6, dtype=torch.float64))
    point = sphere_critical_point(problem, state)
    assert (point.kind, point.tangential_gradient) == ("strict_saddle", 0.0)
    assert point.multiplier == pytest.approx(0, abs=1e-15)
    assert_direction_lowers_the_loss(problem, state, point, angle=1e-2)


def test_a_float32_state_is_classified_in_float64():
    problem = Problem([1] * 4, 5)
    state = block_state(problem, 2, 4.0)
    single = State(state.W.float(), state.H.float())
    point = sphere_critical_point(problem, single)
    assert point.direction.W.dtype == torch.float64
    assert point.min_curvature == pytest.approx(sphere_critical_point(problem, state).min_curvature, rel=1e-5)


def test_a_minimum_rounded_to_float32_is_undetermined():
    """Rounding made it 1e-7 from critical, which is no proof that it is not."""
    state = collapsed_state(Problem([3] * 10, 16), 4.0)
    point = sphere_critical_point(Problem([3] * 10, 16), State(state.W.float(), state.H.float()))
    assert point.tangential_gradient > 1e-8
    assert point.kind == "undetermined"


@pytest.mark.parametrize("norm", [1e-8, 1e-7, 5e-7, 2e7, 1e9, 1e80])
def test_a_saddle_is_never_called_a_minimum_however_small_or_large_it_is(norm):
    """At small norms all points are alike up to ρ², at large ones rounding of the logits decides nothing."""
    point = sphere_critical_point(Problem([1] * 4, 5), block_state(Problem([1] * 4, 5), 2, norm))
    assert point.kind in {"undetermined", "strict_saddle"}


@pytest.mark.parametrize("norm", [1e-5, 1e-4, 1e-3])
def test_a_point_near_the_origin_whose_classifier_fits_its_means_is_not_called_a_minimum(norm):
    """W ∝ R₀ Hᵀ with arbitrary class means is critical up to ρ², and has curvatures below 0 of that size."""
    problem = Problem([2] * 4, 8)
    means = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0][:4]
    H = means[problem.labels].T
    R = torch.nn.functional.one_hot(problem.labels, 4).double().T - 0.25
    W = R @ H.T
    scale = norm / math.sqrt(2)
    point = sphere_critical_point(problem, State(W * scale / W.norm(), H * scale / H.norm()))
    assert point.kind != "global_minimum"


@pytest.mark.parametrize("norm", [1e5, 1e7])
def test_a_minimum_that_rounding_hides_is_undetermined_and_not_said_to_be_uncritical(norm):
    problem = Problem([3] * 10, 16)
    assert sphere_critical_point(problem, collapsed_state(problem, norm)).kind == "undetermined"


@pytest.mark.parametrize("scale", [1e-160, 1e120, 1e155])
def test_a_state_whose_norm_leaves_the_range_of_numbers_gets_one_sentence(scale):
    problem = Problem([2, 2], 3)
    with pytest.raises(ValueError, match=r"(underflows or overflows|or its norm overflow): scale it"):
        sphere_critical_point(problem, problem.random_state(scale=scale))


@pytest.mark.usefixtures("unchecked")
def test_replicas_the_zero_state_and_other_mistakes_get_one_sentence():
    problem = Problem([2, 2], 3)
    with pytest.raises(ValueError, match=r"takes a single state, but this one has replica axes \[5\]"):
        sphere_critical_point(problem, problem.random_state(replicas=5))
    with pytest.raises(ValueError, match="the state is zero, or so small or so large"):
        sphere_critical_point(problem, State(torch.zeros(2, 3), torch.zeros(3, 4)))
    with pytest.raises(ValueError, match="W must have shape"):
        sphere_critical_point(problem, Problem([2, 2], 4).random_state())
    with pytest.raises(TypeError, match=r"must be an ulpm\.State"):
        sphere_critical_point(problem, None)
