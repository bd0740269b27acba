"""The Jacobian in the coordinates of the subspace that it acts on, against the Jacobian on whole vectors."""

import pytest
import torch
from numpy.testing import assert_allclose

import ulpm
from ulpm import Focal, Problem, SquaredError
from ulpm.distributed import Shard
from ulpm.flow import reduction
from ulpm.flow.reduction import Reduction
from ulpm.flow.system import FlowSystem
from ulpm.objective import Objective

CPU = torch.device("cpu")
PROBLEMS = {
    "cross-entropy": Problem([7, 4, 5], 11),
    "bias": Problem([3, 4, 5, 2], 9, bias=True),
    "smoothed labels": Problem([4, 4], 7, loss=ulpm.CrossEntropy(label_smoothing=0.2)),
    "focal loss": Problem([4, 4, 4], 12, loss=Focal(gamma=2.0)),
    "squared error": Problem([4, 3, 4], 12, loss=SquaredError(), bias=True),
    "a sample a class": Problem([1, 1, 1], 8),
}


def at_a_point(problem, replicas=2, scale=1.0):
    """The system, a point, and the reduction of J there."""
    system = FlowSystem(problem, CPU)
    y = system.layout.pack(problem.random_state(seed=1, scale=scale, replicas=replicas))
    return system, y, reduction_at(system, y)


def reduction_at(system, y):
    at = system.layout.unpack(y)
    return Reduction(system.objective, at, system.objective.loss(at))


def expanded(reduction, x, like):
    """The vectors of coordinates x."""
    nothing = torch.zeros_like(like)
    out = torch.empty_like(like)
    reduction.complete(x, torch.zeros_like(x), nothing, torch.ones_like(like[:, 0]), out)
    return out


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_product_in_coordinates_is_that_of_the_whole_vector(name):
    system, y, reduction = at_a_point(PROBLEMS[name])
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = torch.empty_like(v)
    system.linearise(y).product(v, want)
    image = torch.empty_like(reduction.coordinates(v))
    reduction.product(reduction.coordinates(v), image)
    torch.testing.assert_close(expanded(reduction, image, y), want, rtol=1e-12, atol=1e-13)
    assert_allclose(reduction.coordinates(want), image, rtol=1e-12, atol=1e-13)


def test_inner_products_stay_what_they_are():
    _, y, reduction = at_a_point(PROBLEMS["cross-entropy"])
    a, b = (reduction.coordinates(torch.randn_like(y)) for _ in range(2))
    inner = (expanded(reduction, a, y) * expanded(reduction, b, y)).sum(1)
    torch.testing.assert_close((a * b).sum(1), inner, rtol=1e-12, atol=1e-12)


def test_what_is_orthogonal_to_the_subspace_is_mapped_to_zero():
    system, y, reduction = at_a_point(PROBLEMS["cross-entropy"])
    v = torch.randn_like(y)
    v -= expanded(reduction, reduction.coordinates(v), y)
    assert float(v.norm()) > 1
    image = torch.empty_like(v)
    system.linearise(y).product(v, image)
    assert float(image.norm()) < 1e-13


def test_it_holds_where_the_classifier_is_zero_or_has_parallel_rows():
    problem = PROBLEMS["cross-entropy"]
    system, y, _ = at_a_point(problem)
    W, _, _ = system.layout.unpack(y)
    W[0], W[1, 1] = 0.0, 2 * W[1, 0]
    reduction = reduction_at(system, y)
    v, want = torch.randn_like(y), torch.empty_like(y)
    system.linearise(y).product(v, want)
    image = torch.empty_like(reduction.coordinates(v))
    reduction.product(reduction.coordinates(v), image)
    torch.testing.assert_close(expanded(reduction, image, y), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["cross-entropy", "bias"])
def test_systems_are_solved_as_those_of_whole_vectors(name, monkeypatch):
    """Of a rate, and of a right-hand side that has a part outside the subspace, one after the other."""
    system, y, _ = at_a_point(PROBLEMS[name])
    rate = torch.empty_like(y)
    system.rate(y, rate)
    shift, tolerance = torch.tensor([4.0, 9.0], dtype=torch.float64), torch.full((2,), 1e-13, dtype=torch.float64)
    found = []
    for reduced in (False, True):
        monkeypatch.setattr(reduction, "worthwhile", lambda *_, answer=reduced: answer)
        linear, answers = system.linearise(y), []
        for rhs in (rate.clone(), rate + y, 0.5 * y):
            linear.solve(shift, rhs, tolerance, out := torch.empty_like(y))
            answers.append(out)
        found.append((torch.stack(answers), torch.stack(linear.solves.iterations)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-10, atol=1e-12)
    assert found[0][1].max() > 3
    assert (found[1][1] - found[0][1]).abs().max() <= 1


def test_a_system_without_a_solution_by_conjugate_gradients_gives_nan(monkeypatch):
    monkeypatch.setattr(reduction, "worthwhile", lambda *_: True)
    system, y, _ = at_a_point(PROBLEMS["cross-entropy"])
    linear, x = system.linearise(y), torch.empty_like(y)
    shift = torch.tensor([1e-6, 50.0], dtype=torch.float64)
    linear.solve(shift, torch.ones_like(y), torch.full_like(shift, 1e-10), x)
    assert bool(torch.isnan(x[0]).all())
    assert bool(torch.isfinite(x[1]).all())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("replicas", [None, 3])
def test_a_flow_is_the_same_with_and_without(replicas, monkeypatch):
    problem = Problem([6] * 4, 20)
    paths = []
    for reduced in (False, True):
        monkeypatch.setattr(reduction, "worthwhile", lambda *_, answer=reduced: answer)
        start = problem.random_state(seed=0, replicas=replicas)
        paths.append(ulpm.gradient_flow(problem, start, log10_time=1000, records=20))
    whole, short = paths
    assert short.stats["steps"] == whole.stats["steps"]
    # The metrics are far below 1 at the end, and what solves leave is seen in them.
    for name, values in whole.columns().items():
        if "drift" not in name:
            torch.testing.assert_close(short.columns()[name], values, rtol=1e-5, atol=1e-10, equal_nan=True)
    torch.testing.assert_close(short.final_state.H, whole.final_state.H, rtol=0, atol=1e-9)
    for name, drift in short.invariant_drift.items():
        assert float(drift.max()) <= 1.1 * float(whole.invariant_drift[name].max()) + 1e-16


def test_it_is_taken_where_vectors_are_long_and_coordinates_few():
    def taken(*problem, processes=1, **more):
        return reduction.worthwhile(Objective(Problem(*problem, **more), CPU, Shard(0, processes)))

    assert taken([200] * 10, 256)
    assert not taken([5] * 4, 20)
    assert not taken([20] * 100, 128)  # 2Kd + KN is no less than dN
    assert not taken([200] * 10, 256, weight_decay=(1e-3, 1e-3))
    assert not taken([200] * 10, 256, processes=2)
