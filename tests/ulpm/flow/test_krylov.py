"""Conjugate gradients against dense solutions."""

import pytest
import torch

from ulpm.flow.krylov import ConjugateGradients

GENERATOR = torch.Generator().manual_seed(0)


def symmetric(eigenvalues):
    size = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(size, size, generator=GENERATOR, dtype=torch.float64))[0]
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T


J = torch.stack([symmetric([-(2.0**k) for k in range(8)]), symmetric([-1.0, -1.0, -50.0, -50.0, 0.1, 0.1, 0.0, -7.0])])
SHIFT = torch.tensor([0.5, 0.3], dtype=torch.float64)
RHS = torch.randn(2, 8, generator=GENERATOR, dtype=torch.float64)


def product(v, out):
    out.copy_((J @ v[..., None])[..., 0])


def solve(shift, rhs, tolerance, known=()):
    """(solution, x)"""
    x = torch.full_like(rhs, torch.nan)
    return ConjugateGradients().solve(product, shift, rhs.clone(), tolerance, x, known), x


def image_of(x):
    """(σI − J)x"""
    image = torch.empty_like(x)
    product(x, image)
    return SHIFT[:, None] * x - image


def residual(x):
    return (RHS - image_of(x)).norm(dim=1)


def test_each_replica_is_solved_to_its_own_tolerance():
    tolerance = torch.tensor([1e-3, 1e-10], dtype=torch.float64)
    solution, x = solve(SHIFT, RHS, tolerance)
    assert bool(solution.converged.all())
    # The recursive residual leaves the true one by rounding only.
    assert bool((residual(x) <= 1.01 * tolerance + 1e-13).all())
    tight, _ = solve(SHIFT, RHS, torch.full((2,), 1e-10, dtype=torch.float64))
    assert int(solution.iterations[0]) < int(tight.iterations[0])
    assert int(solution.iterations[1]) == int(tight.iterations[1])


def test_the_answer_is_that_of_a_dense_solver():
    _, x = solve(SHIFT, RHS, torch.full((2,), 1e-13, dtype=torch.float64))
    for b in range(2):
        want = torch.linalg.solve(SHIFT[b] * torch.eye(8, dtype=torch.float64) - J[b], RHS[b])
        torch.testing.assert_close(x[b], want, rtol=1e-11, atol=1e-12)


def test_there_are_no_more_iterations_than_distinct_eigenvalues():
    # Exact in exact arithmetic. Rounding leaves 1.5e-9 on one processor and less than 1e-9 on another.
    solution, _ = solve(SHIFT, RHS, torch.full((2,), 1e-7, dtype=torch.float64))
    assert int(solution.iterations[1]) <= 5
    assert int(solution.iterations[0]) <= 8


def test_the_stiffness_is_a_lower_bound_of_the_largest_eigenvalue_and_near_it():
    solution, _ = solve(SHIFT, RHS, torch.full((2,), 1e-12, dtype=torch.float64))
    largest = torch.tensor([128.0, 50.0], dtype=torch.float64)
    assert bool((solution.stiffness <= largest * (1 + 1e-10)).all())
    assert bool((solution.stiffness > 0.5 * largest).all())


def test_a_replica_whose_system_is_indefinite_does_not_converge_and_leaves_the_other_alone():
    shift = torch.tensor([0.5, 0.05], dtype=torch.float64)  # below the eigenvalue 0.1 of the second J
    both, x = solve(shift, RHS, torch.full((2,), 1e-12, dtype=torch.float64))
    assert both.converged.tolist() == [True, False]
    alone = torch.linalg.solve(shift[0] * torch.eye(8, dtype=torch.float64) - J[0], RHS[0])
    torch.testing.assert_close(x[0], alone, rtol=1e-11, atol=1e-12)
    assert bool(torch.isnan(x[1]).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_right_hand_side_that_is_not_finite_does_not_converge(bad):
    rhs = RHS.clone()
    rhs[1, 2] = bad
    solution, _ = solve(SHIFT, rhs, torch.full((2,), 1e-10, dtype=torch.float64))
    assert solution.converged.tolist() == [True, False]


def test_a_zero_right_hand_side_takes_no_iteration():
    solution, _ = solve(SHIFT, torch.zeros_like(RHS), torch.zeros(2, dtype=torch.float64))
    assert bool(solution.converged.all())
    assert solution.iterations.tolist() == [0, 0]


def vectors(count):
    return torch.randn(count, 2, 8, generator=GENERATOR, dtype=torch.float64)


def test_the_right_hand_side_becomes_the_image_of_the_answer():
    rhs, x = RHS.clone(), torch.empty_like(RHS)
    ConjugateGradients().solve(product, SHIFT, rhs, torch.full((2,), 0.1, dtype=torch.float64), x)
    assert bool(((RHS - rhs).norm(dim=1) > 1e-3).all())
    torch.testing.assert_close(rhs, image_of(x), rtol=1e-13, atol=1e-13)


def test_a_combination_of_images_that_are_known_takes_no_iteration():
    first, second = vectors(2)
    weights = torch.tensor([[2.0, -30.0], [0.5, 3.0]], dtype=torch.float64)
    want = weights[0][:, None] * first + weights[1][:, None] * second
    known = [(first, image_of(first)), (second, image_of(second))]
    solution, x = solve(SHIFT, image_of(want), torch.full((2,), 1e-9, dtype=torch.float64), known)
    assert solution.iterations.tolist() == [0, 0]
    assert bool(solution.converged.all())
    torch.testing.assert_close(x, want, rtol=1e-10, atol=1e-10)


def test_the_start_is_the_combination_of_known_images_that_is_closest_to_the_right_hand_side():
    known = [(x, image_of(x)) for x in vectors(2)]
    # A tolerance that any start meets: what is returned is the start.
    _, x = solve(SHIFT, RHS, torch.full((2,), 1e3, dtype=torch.float64), known)
    for b in range(2):
        images = torch.stack([image[b] for _, image in known], 1)
        weights = torch.linalg.lstsq(images, RHS[b][:, None]).solution[:, 0]
        want = sum(weight * vector[b] for weight, (vector, _) in zip(weights, known, strict=True))
        torch.testing.assert_close(x[b], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("apart", [1e-4, 1e-8, 1e-12, 0.0])
def test_known_images_that_are_nearly_parallel_or_zero_do_no_harm(apart):
    first, other = vectors(2)
    tolerance = torch.full((2,), 1e-11, dtype=torch.float64)
    for second in (first + apart * other, apart * other):
        known = [(first, image_of(first)), (second, image_of(second))]
        solution, x = solve(SHIFT, RHS, tolerance, known)
        assert bool(solution.converged.all())
        assert bool((residual(x) <= 2 * tolerance).all())
        assert int(solution.iterations.max()) <= 10


def test_iterations_that_nobody_asks_for_change_no_bit_and_too_few_are_noticed():
    tolerance = torch.full((2,), 1e-9, dtype=torch.float64)
    asked, x = solve(SHIFT, RHS, tolerance)
    most = int(asked.iterations.max())

    def unasked(count):
        result = torch.empty_like(RHS)
        return ConjugateGradients().solve(product, SHIFT, RHS.clone(), tolerance, result, unasked=count), result

    enough, same = unasked(most + 5)
    assert torch.equal(same, x)
    assert torch.equal(enough.iterations, asked.iterations)
    assert torch.equal(enough.stiffness, asked.stiffness)
    assert enough.exhausted.tolist() == [False, False]
    short, _ = unasked(most - 1)
    assert short.exhausted.tolist() == (asked.iterations == most).tolist()
    assert torch.equal(short.exhausted, ~short.converged)
