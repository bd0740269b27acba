"""Every loss, with and without decay and bias: values, gradients and Jacobian products against independent ones."""

import itertools
import json
import math

import mpmath
import pytest
import torch
from oracles import plain_objective

import ulpm
from ulpm.losses import LOSSES, loss_from_record
from ulpm.objective import Objective
from ulpm.state import Factors

LOSS = [
    ulpm.CrossEntropy(),
    ulpm.CrossEntropy(label_smoothing=0.1),
    ulpm.Focal(gamma=0.5),
    ulpm.Focal(gamma=2.0),
    ulpm.Focal(gamma=5.0),
    ulpm.SquaredError(),
]
MEMBERS = [
    ulpm.Problem([3, 2, 4], 5, loss=loss, weight_decay=decay, bias=bias, reduction=reduction)
    for loss, decay, bias, reduction in itertools.product(
        LOSS, ((0.0, 0.0), (5e-3, 1e-3), (0.3, 0.0)), (False, True), ("sum", "mean")
    )
]


def a_state(problem: ulpm.Problem, seed: int = 1, scale: float = 1.5) -> ulpm.State:
    state = problem.random_state(seed=seed, scale=scale)
    if state.b is None:
        return state
    generator = torch.Generator().manual_seed(seed)
    return ulpm.State(state.W, state.H, torch.randn(state.b.shape, generator=generator, dtype=torch.float64))


def parts_of(factors: Factors) -> list[torch.Tensor]:
    return [part for part in factors if part is not None]


@pytest.mark.parametrize("num_classes", [2, 5, 1000])
@pytest.mark.parametrize("smoothing", [1e-17, 1e-13, 1e-9, 1e-3, 0.5, 1 - 1e-12])
def test_the_least_loss_of_smoothed_labels_is_their_entropy_however_little_they_are_smoothed(num_classes, smoothing):
    with mpmath.workdps(50):
        wrong = mpmath.mpf(smoothing) / num_classes
        label = 1 - (num_classes - 1) * wrong
        entropy = -label * mpmath.log(label) - (num_classes - 1) * wrong * mpmath.log(wrong)
    loss = ulpm.CrossEntropy(label_smoothing=smoothing)
    assert loss.least(num_classes) == pytest.approx(float(entropy), rel=1e-14)
    problem = ulpm.Problem([3] * num_classes, num_classes - 1, loss=loss)
    found = ulpm.optimum(problem)
    assert abs(found.duality_gap) <= 1e-13 * found.value
    assert abs(float(ulpm.certify(problem, found.state).gap)) <= 1e-13


@pytest.mark.parametrize("problem", MEMBERS, ids=repr)
def test_the_objective_its_field_and_its_jacobian_are_those_of_automatic_differentiation(problem):
    state = a_state(problem)
    parts = [part.clone().requires_grad_() for part in parts_of(state.factors)]
    value = plain_objective(problem, *parts)
    followed = value.log() if problem.loss.logarithmic else value
    gradient = torch.autograd.grad(followed, parts, create_graph=True)
    generator = torch.Generator().manual_seed(0)
    tangent = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in parts]
    along = sum((slope * direction).sum() for slope, direction in zip(gradient, tangent, strict=True))
    product = torch.autograd.grad(along, parts)

    objective = Objective(problem)
    loss, force = objective(state.factors)
    image = objective.jacobian_product(state.factors, Factors(*tangent))
    assert float(loss.log_loss) == pytest.approx(float(value.detach().log()), abs=1e-13)
    for got, minus in zip(parts_of(force) + parts_of(image), [*gradient, *product], strict=True):
        assert torch.allclose(got, -minus, rtol=1e-12, atol=1e-12 * float(minus.detach().abs().max()))


@pytest.mark.parametrize("problem", MEMBERS[::2], ids=repr)
def test_the_public_log_loss_has_the_gradient_and_the_second_derivatives_of_its_value(problem):
    state = a_state(problem)
    grown = [part.clone().requires_grad_() for part in parts_of(state.factors)]
    plain = [part.clone().requires_grad_() for part in parts_of(state.factors)]
    results = []
    for parts, value in (
        (grown, ulpm.log_loss(problem, ulpm.State(*grown))),
        (plain, plain_objective(problem, *plain).log()),
    ):
        slopes = torch.autograd.grad(value, parts, create_graph=True)
        results.append([value, *slopes, *torch.autograd.grad(sum(slope.square().sum() for slope in slopes), parts)])
    for got, want in zip(*results, strict=True):
        assert torch.allclose(got, want, rtol=1e-10, atol=1e-11 * float(want.detach().abs().max()))


def exact(problem: ulpm.Problem, state: ulpm.State):
    """log Φ, its negative gradient in W (or that of Φ) and Φ's residual, by mpmath in 50 digits from margins alone."""
    with mpmath.workdps(50):
        W, H = (mpmath.matrix(part.tolist()) for part in (state.W, state.H))
        b = [mpmath.mpf(0)] * problem.num_classes if state.b is None else [mpmath.mpf(v) for v in state.b.tolist()]
        Z = W * H
        K, N, labels, loss = problem.num_classes, problem.num_samples, problem.labels.tolist(), problem.loss
        total, R = mpmath.mpf(0), mpmath.zeros(K, N)
        for i, y in enumerate(labels):
            z = [Z[k, i] + b[k] for k in range(K)]
            wrong = mpmath.fsum(mpmath.exp(z[k] - z[y]) for k in range(K) if k != y)
            others = wrong / (1 + wrong)
            p = [mpmath.exp(z[k] - z[y]) / (1 + wrong) for k in range(K)]
            cross = mpmath.log1p(wrong)
            if isinstance(loss, ulpm.CrossEntropy):
                share = mpmath.mpf(loss.label_smoothing) / K
                total += cross - share * mpmath.fsum(z[k] - z[y] for k in range(K))
                off = [share - p[k] for k in range(K)]
            elif isinstance(loss, ulpm.Focal):
                gamma = mpmath.mpf(loss.gamma)
                total += others**gamma * cross
                slope = others**gamma * (gamma * (1 - others) * cross + others)
                off = [-p[k] / others * slope for k in range(K)]
            else:
                total += mpmath.fsum((z[k] - (k == y)) ** 2 for k in range(K)) / 2
                off = [-z[k] for k in range(K)]
            for k in range(K):
                R[k, i] = off[k]
            if isinstance(loss, ulpm.SquaredError):
                R[y, i] = 1 - z[y]
            else:
                R[y, i] = -mpmath.fsum(off[k] for k in range(K) if k != y)
        total, R = total / problem.samples_per_unit, R / problem.samples_per_unit
        λ_W, λ_H = (mpmath.mpf(λ) for λ in problem.weight_decay)
        total += λ_W / 2 * mpmath.fsum(w**2 for w in W) + λ_H / 2 * mpmath.fsum(h**2 for h in H)
        scale = total if loss.logarithmic else mpmath.mpf(1)
        F_W, F_H = (R * H.T - λ_W * W) / scale, (W.T * R - λ_H * H) / scale
        return mpmath.log(total), F_W, F_H


@pytest.mark.parametrize("gap", [1.0, 30.0, 300.0])
@pytest.mark.parametrize(
    "problem",
    [
        ulpm.Problem([2, 1, 2], 3, loss=loss, weight_decay=decay, bias=bias)
        for loss in LOSS
        for decay, bias in (((0.0, 0.0), False), ((1e-3, 2e-3), True))
    ],
    ids=repr,
)
def test_the_objective_and_its_field_agree_with_fifty_digits_at_any_gap(problem, gap):
    target = ulpm.seli_state(problem)
    scale = math.sqrt(gap / float(ulpm.margin(problem, target)))
    state = scale * target + 1e-3 * a_state(problem, seed=3)
    with mpmath.workdps(50):
        log_value, W_want, H_want = exact(problem, state)
        loss, force = Objective(problem)(state.factors)
        # Logits of this size are rounded to this.
        rounding = 64 * torch.finfo(torch.float64).eps * (1 + 3 * gap)
        steepness = 10 * (problem.loss.tail or 1.0)
        assert abs(float(mpmath.mpf(float(loss.log_loss)) - log_value)) <= steepness * rounding
        # ‖R Hᵀ‖ ≤ ‖R‖ ‖H‖: what a relative error of R makes of F.
        size = float(loss.residual.norm())
        slack = 10 * rounding
        for got, want, other in ((force.W, W_want, state.H), (force.H, H_want, state.W)):
            rows = [[float(want[i, j]) for j in range(want.cols)] for i in range(want.rows)]
            numbers = torch.tensor(rows, dtype=torch.float64)
            error = float((got - numbers).norm())
            assert error <= slack * (size * float(other.norm()) + float(numbers.norm()))


@pytest.mark.parametrize("loss", LOSS, ids=repr)
def test_the_change_of_the_residual_is_that_of_a_difference(loss):
    problem = ulpm.Problem([3, 2], 4, loss=loss)
    state, change = a_state(problem), 1e-6 * a_state(problem, seed=5)
    objective = Objective(problem)
    got = float(objective.residual_change(state.factors, change.factors, objective.loss(state.factors)))
    before, after = objective.loss(state.factors), objective.loss((state + change).factors)
    off = torch.ones_like(before.residual, dtype=torch.bool).scatter(-2, objective.label_rows(before.residual), False)
    if isinstance(loss, ulpm.SquaredError):
        want = float((after.residual - before.residual).norm()) / math.sqrt(problem.num_samples)
    elif loss.attained:
        p = torch.softmax(state.W @ state.H, 0)[off]
        moved = (torch.softmax((state + change).W @ (state + change).H, 0)[off] / p - 1).square()
        want = float((p * moved).sum().div(before.log_loss.exp()).sqrt())
    else:
        Q = -before.residual[off]
        want = float((Q * (after.residual[off] / before.residual[off] - 1).square()).sum().sqrt())
    assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("loss", LOSS, ids=repr)
def test_a_loss_is_what_its_record_says(loss):
    assert loss_from_record(loss.record()) == loss
    assert LOSSES[loss.name] is type(loss)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-15), (torch.float32, 5e-7)])
@pytest.mark.parametrize("gamma", [0.5, 5.0, 1e3, 1e10, 1e15])
def test_the_profile_of_the_focal_loss_is_that_of_60_digits_however_large_gamma_is(gamma, dtype, bound):
    """log φ, φ′/φ and ψ = 1 − φ″/φ′ with φ(x) = σ(x)^γ log(1 + e^x)."""
    x = torch.tensor([-80.0, -30.0, -3.0, 0.0, 2.0, 9.0, 14.0, 25.0, 36.0, 80.0], dtype=dtype)
    found = [part[0] for part in ulpm.Focal(gamma).profile(x[None])]
    with mpmath.workdps(60):
        for i, number in enumerate(x.tolist()):
            X, σ = mpmath.mpf(number), 1 / (1 + mpmath.exp(-mpmath.mpf(number)))
            log_phi = gamma * mpmath.log(σ) + mpmath.log(mpmath.log1p(mpmath.exp(X)))
            u = σ / mpmath.log1p(mpmath.exp(X))
            slope = gamma * (1 - σ) + u
            psi = 1 - slope - (u * (1 - σ - u) - gamma * σ * (1 - σ)) / slope
            for value, expected in zip(found, (log_phi, slope, psi), strict=True):
                assert float(value[i]) == pytest.approx(float(expected), rel=bound, abs=bound), number


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
def test_focal_loss_of_gamma_zero_is_cross_entropy_and_its_tail_falls_by_one_more(gamma):
    problem = ulpm.Problem([2, 2], 2, loss=ulpm.Focal(gamma))
    state = ulpm.collapsed_state(problem)
    far = [20 * state, 20 * math.sqrt(1.1) * state]
    margins = [float(ulpm.margin(problem, each)) for each in far]
    values = [float(ulpm.log_loss(problem, each)) for each in far]
    slope = (values[0] - values[1]) / (margins[1] - margins[0])
    assert slope == pytest.approx(1 + gamma, rel=1e-12)
    assert problem.loss.tail == 1 + gamma
    if gamma == 0:
        plain = ulpm.Problem([2, 2], 2)
        assert float(ulpm.log_loss(plain, a_state(plain))) == pytest.approx(
            float(ulpm.log_loss(problem, a_state(problem))), rel=1e-14
        )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ulpm.CrossEntropy(label_smoothing=1.0), "label_smoothing must be at least 0 and below 1"),
        (lambda: ulpm.CrossEntropy(label_smoothing=-0.1), "label_smoothing must be at least 0"),
        (lambda: ulpm.CrossEntropy(label_smoothing="0.1"), "label_smoothing must be a number"),
        (lambda: ulpm.Focal(gamma=-1.0), "gamma must be at least 0"),
        (lambda: ulpm.Focal(gamma=float("inf")), "gamma must be"),
        (lambda: ulpm.Problem([1, 1], 2, loss="cross-entropy"), "loss must be a loss such as"),
        (lambda: ulpm.Problem([1, 1], 2, weight_decay=(-1e-3, 0.0)), "weight_decay\\[0\\] must be at least 0"),
        (lambda: ulpm.Problem([1, 1], 2, weight_decay=1e-3), "weight_decay must be two numbers"),
        (lambda: ulpm.Problem([1, 1], 2, weight_decay=(1.0, 2.0, 3.0)), "weight_decay must be two numbers"),
        (lambda: ulpm.Problem([1, 1], 2, bias="yes"), "bias must be True or False"),
        (lambda: ulpm.Problem([1, 1], 2, reduction="average"), "reduction must be 'sum' or 'mean'"),
        (
            lambda: ulpm.log_loss(ulpm.Problem([1, 1], 2, bias=True), ulpm.Problem([1, 1], 2).random_state()),
            "the problem has a bias, but the state has no b",
        ),
        (
            lambda: ulpm.log_loss(ulpm.Problem([1, 1], 2), ulpm.Problem([1, 1], 2, bias=True).random_state()),
            "the state has a bias b, but the problem has none",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(make, words):
    with pytest.raises((TypeError, ValueError), match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("problem", MEMBERS[::5], ids=repr)
def test_a_problem_is_what_its_record_says(problem):
    assert ulpm.Problem.from_record(json.loads(json.dumps(problem.record()))) == problem
