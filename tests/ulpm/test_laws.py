"""The table of laws, held against runs of each kind of problem."""

import functools

import pytest
import torch

import ulpm
from ulpm.laws import law_exponent, law_exponents
from ulpm.metrics.records import METRICS

pytestmark = pytest.mark.usefixtures("unchecked")  # checks cost several times what the flows themselves do

LATE = 1e4  # log t at the end of the runs
KINDS = {
    "equal counts": ([5] * 4, 20, False),
    "equal counts, d = K": ([5] * 4, 4, False),
    "equal counts, d = K - 1": ([5] * 4, 3, False),
    "equal counts, centred": ([5] * 4, 20, True),
    "equal counts, d = K - 1, centred": ([5] * 4, 3, True),
    "unequal counts": ([6, 3, 2], 8, False),
    "unequal counts, d = K - 1": ([6, 3, 2], 2, False),
    "unequal counts, centred": ([6, 3, 2], 8, True),
    "two classes": ([5, 5], 8, False),
    "two classes, d = 1": ([5, 5], 1, False),
    "two classes, centred": ([5, 5], 8, True),
    "two unequal classes": ([6, 2], 8, False),
    "two unequal classes, d = 1": ([6, 2], 1, False),
    "two unequal classes, centred": ([6, 2], 8, True),
    "single samples": ([1] * 3, 5, False),
    "d < K - 1": ([2] * 4, 2, False),
}
# The others differ from one of these in a single thing.
QUICK = {
    "equal counts",
    "equal counts, d = K - 1",
    "equal counts, centred",
    "unequal counts",
    "unequal counts, d = K - 1",
    "two classes",
    "two unequal classes, d = 1",
    "single samples",
    "d < K - 1",
}


def marked(kinds):
    return [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@functools.cache
def run(kind):
    counts, d, centred = KINDS[kind]
    problem = ulpm.Problem(counts, d)
    start = problem.random_state(seed=0, replicas=3)
    if centred:
        start = ulpm.State(start.W - start.W.mean(-2, keepdim=True), start.H)
    return ulpm.gradient_flow(problem, start, log_time=LATE, rtol=1e-7, records=50)


def measured(path):
    """The median over starts of every exponent between log t = 1,700 and the end."""
    values = {**path.columns(), "gap": path.certificate.gap, "margin deficit": 1 - path.margin_ratio}
    late = path.log_time[:, 0] > LATE / 6
    x = path.log_time[late].log()
    x = x - x.mean(0)
    return {
        name: float(((x * value[late].log()).sum(0) / x.square().sum(0)).median()) for name, value in values.items()
    }


@pytest.mark.parametrize("kind", marked(KINDS))
def test_every_law_of_the_table_is_that_of_a_run(kind):
    path = run(kind)
    laws, found = law_exponents(path.problem, centred=KINDS[kind][2]), measured(path)
    # The gap of the bounds is a difference of large numbers: its law shows in the size, not in the slope.
    deviations = {name: found[name] - law for name, law in laws.items() if name != "gap"}
    # Next terms are smaller by a/√(log t): they change an exponent by a/(2√(log t)), with a up to 4 here.
    assert {name: off for name, off in deviations.items() if not abs(off) < 2 / (LATE / 6) ** 0.5} == {}


@pytest.mark.parametrize("kind", marked(kind for kind in KINDS if "d <" not in kind))
def test_a_metric_without_a_law_is_zero_or_falls_much_faster_than_one_over_log_time(kind):
    path = run(kind)
    for name in set(METRICS) - set(law_exponents(path.problem, centred=KINDS[kind][2])):
        # The median, as for d = K − 1 a start may still be on its way out of a saddle.
        assert float(path.metrics[name][-1].median()) < 1e-8, name


def test_the_gap_of_the_bounds_falls_like_one_over_log_time_for_unequal_counts_too():
    path = ulpm.gradient_flow(
        problem := ulpm.Problem([6, 3, 2], 8), problem.random_state(seed=0), log_time=1e4, rtol=1e-8, records=20
    )
    assert law_exponent(problem, "gap") == -1.0
    scaled = (path.certificate.gap * path.log_time)[path.log_time > 1e3]
    assert float(scaled.max() / scaled.min()) < 1.02


def test_limits_of_unequal_counts_are_positive_because_norms_of_rows_and_means_are_in_opposite_order():
    problem = ulpm.Problem([9, 5, 3, 2, 1], feature_dim=6)
    state = ulpm.seli_state(problem)
    means = torch.stack([state.H[:, problem.labels == k].mean(1) for k in range(5)])
    assert (state.W.norm(dim=1).diff() < 0).all()
    assert (means.norm(dim=1).diff() > 0).all()
    metrics = ulpm.neural_collapse(state.W, state.H, problem.labels)
    constants = {name for name, law in law_exponents(problem).items() if law == 0.0}
    assert constants == {name for name in METRICS if name.startswith(("nc2", "nc3"))} - {"nc3_product"}
    assert min(float(metrics[name]) for name in constants) > 0.01
    assert float(metrics["nc3_product"]) < 1e-12


def test_only_quantities_with_a_law_are_in_the_table():
    laws = law_exponents(ulpm.Problem([5] * 4, 20))
    assert set(METRICS) - set(laws) == {"nc4_mismatch"}
    assert law_exponent(ulpm.Problem([5] * 4, 20), "nc4_mismatch") is None
    assert law_exponents(ulpm.Problem([5] * 4, 2)) == {"nc0": -0.5}
    assert law_exponents(ulpm.Problem([5] * 4, 2), centred=True) == {}
