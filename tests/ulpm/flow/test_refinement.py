"""Linear solves with products in float32 are as good as those in float64."""

import pytest
import torch

import ulpm
from ulpm.flow.krylov import ConjugateGradients
from ulpm.flow.refinement import Refinement
from ulpm.flow.vectors import PLAIN
from ulpm.objective import Objective

GENERATOR = torch.Generator().manual_seed(0)
SHIFT = torch.tensor([0.5, 0.3], dtype=torch.float64)
RHS = torch.randn(2, 8, generator=GENERATOR, dtype=torch.float64)


def symmetric(eigenvalues):
    Q = torch.linalg.qr(torch.randn(8, 8, generator=GENERATOR, dtype=torch.float64))[0]
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T


J = torch.stack([symmetric([-(3.0**k) for k in range(8)]), symmetric([-1.0, -1.0, -50.0, -50.0, 0.1, 0.1, 0.0, -7.0])])


def solve(shift, rhs, tolerance, known=()):
    """(solution, x, image of x, products in float64 and in float32)"""
    counts = {torch.float64: 0, torch.float32: 0}

    def product(v, out):
        counts[v.dtype] += 1
        out.copy_((J.to(v.dtype) @ v[..., None])[..., 0])

    x, image = torch.full_like(rhs, torch.nan), rhs.clone()
    refinement = Refinement(torch.float32, PLAIN)
    solution = refinement.solve(product, product, shift, image, torch.tensor([tolerance] * 2).double(), x, known)
    return solution, x, image, counts


def test_the_answer_is_that_of_a_dense_solver_with_few_products_in_double_precision():
    solution, x, image, counts = solve(SHIFT, RHS, 1e-13)
    assert bool(solution.converged.all())
    for b in range(2):
        A = SHIFT[b] * torch.eye(8, dtype=torch.float64) - J[b]
        torch.testing.assert_close(x[b], torch.linalg.solve(A, RHS[b]), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(image[b], A @ x[b], rtol=1e-12, atol=1e-12)
    assert counts[torch.float64] <= 6
    assert counts[torch.float32] > 2 * counts[torch.float64]


def test_a_known_solution_takes_no_product():
    _, x, image, _ = solve(SHIFT, RHS, 1e-13)
    solution, again, _, counts = solve(SHIFT, image, 1e-10, known=[(x, image)])
    assert counts == {torch.float64: 0, torch.float32: 0}
    assert bool(solution.converged.all())
    torch.testing.assert_close(again, x, rtol=1e-14, atol=0)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30])
def test_the_size_of_a_right_hand_side_may_be_outside_the_range_of_float32(size):
    solution, x, _, _ = solve(SHIFT, size * RHS, 1e-12 * size)
    if size > 1e-100:  # below, squares of norms underflow in any precision, and nothing is asked for
        assert bool(solution.converged.all())
        A = SHIFT[0] * torch.eye(8, dtype=torch.float64) - J[0]
        torch.testing.assert_close(x[0] / size, torch.linalg.solve(A, RHS[0]), rtol=1e-9, atol=1e-10)
    assert bool(torch.isfinite(x).all())


def test_a_replica_whose_system_is_indefinite_does_not_converge_and_leaves_the_other_alone():
    solution, x, _, _ = solve(torch.tensor([0.5, 0.05], dtype=torch.float64), RHS, 1e-12)
    assert solution.converged.tolist() == [True, False]
    A = 0.5 * torch.eye(8, dtype=torch.float64) - J[0]
    torch.testing.assert_close(x[0], torch.linalg.solve(A, RHS[0]), rtol=1e-11, atol=1e-12)


def test_a_right_hand_side_that_is_not_finite_does_not_converge():
    rhs = RHS.clone()
    rhs[1, 2] = torch.inf
    assert solve(SHIFT, rhs, 1e-10)[0].converged.tolist() == [True, False]


def test_the_stiffness_is_that_of_conjugate_gradients():
    def product(v, out):
        out.copy_((J @ v[..., None])[..., 0])

    tolerance = torch.full((2,), 1e-12, dtype=torch.float64)
    plain = ConjugateGradients().solve(product, SHIFT, RHS.clone(), tolerance, torch.empty_like(RHS))
    torch.testing.assert_close(solve(SHIFT, RHS, 1e-12)[0].stiffness, plain.stiffness, rtol=0.2, atol=0)


@pytest.mark.parametrize(
    "problem",
    [
        ulpm.Problem([5] * 4, 6),
        ulpm.Problem([6, 3, 1], 4),
        pytest.param(
            ulpm.Problem([5] * 4, 6, loss=ulpm.CrossEntropy(0.1), weight_decay=(1e-3, 1e-3), bias=True),
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_flow_with_products_in_float32_records_what_one_in_float64_records(problem, monkeypatch):
    dtypes, original = [], Objective.jacobian_product

    def watched(self, at, tangent, *rest):
        dtypes.append(tangent.W.dtype)
        return original(self, at, tangent, *rest)

    monkeypatch.setattr(Objective, "jacobian_product", watched)
    start = problem.random_state(seed=0, replicas=2)

    def flow(**options):
        return ulpm.gradient_flow(problem, start, log10_time=4 if problem.attained else 1000, records=12, **options)

    plain = flow()
    assert torch.float32 not in dtypes
    dtypes.clear()
    mixed = flow(solver=ulpm.Solver(product_dtype=torch.float32))
    assert dtypes.count(torch.float32) > dtypes.count(torch.float64) > 0
    assert mixed.finished
    # Flows that come to rest may do so a record apart.
    rows = min(len(plain.log_time), len(mixed.log_time)) - 1
    assert rows >= 4
    ends = [ulpm.log_loss(problem, path.final_state) for path in (mixed, plain)]
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-9)
    for key, values in plain.metrics.items():
        close = (mixed.metrics[key][:rows] - values[:rows]).abs() <= (0.01 * values.abs() + plain.floors[key])[:rows]
        assert bool((close | values[:rows].isnan()).all()), key
    # A sum that is constant is conserved to what a solve may err by, krylov_share·rtol = 1e-11 of ρ, not to the last
    # bit; what is quadratic, or decays, to what a step may err by, as in test_run.py.
    for key, drift in mixed.invariant_drift.items():
        exact = key.endswith("sum") and not (problem.decayed and key == "classifier_sum")
        assert float(drift.nan_to_num(0).max()) <= (1e-11 if exact else 1e-5), key


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, "float32"])
def test_another_precision_of_products_is_refused(dtype):
    with pytest.raises(ValueError, match=r"product_dtype must be torch\.float32 or None"):
        ulpm.Solver(product_dtype=dtype)
