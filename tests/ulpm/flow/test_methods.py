import numpy as np
import pytest
from oracles import elementary_weights, rooted_trees, tree_density, tree_size

from ulpm.flow.methods import TSITOURAS

METHOD = TSITOURAS
S = METHOD.num_stages
A = np.array([list(row) + [0] * (S - len(row)) for row in ((), *METHOD.stages)])
B = A[-1]  # first same as last: the last stage is evaluated at the end of the step
ERROR = np.array(METHOD.error)
DENSE = np.array(METHOD.dense)
C = np.array([0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1])
ROUNDING = 1e-13  # sums of a dozen numbers of size up to 88, known to 16 digits


def weights_at(theta):
    return DENSE @ theta ** np.arange(1, DENSE.shape[1] + 1)


def misses(weights, order, theta=1.0):
    """|Σ b_i Φ_i(t) − θ^order/γ(t)| for every rooted tree with ``order`` nodes."""
    trees = rooted_trees(order)
    return [abs(weights @ elementary_weights(t, A) - theta**order / tree_density(t)) for t in trees]


def test_the_oracle_knows_all_trees():
    # Cayley's numbers of rooted trees, and γ of the tall tree n! and of the bushy tree n.
    assert [len(rooted_trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    assert {tree_size(tree) for tree in rooted_trees(5)} == {5}
    assert tree_density(((((),),),)) == 24
    assert tree_density(((), (), ())) == 4


def test_rows_of_the_tableau_sum_to_the_published_nodes():
    np.testing.assert_allclose(A.sum(1), C, atol=ROUNDING)


@pytest.mark.parametrize("order", range(1, 6))
def test_the_method_meets_every_order_condition_up_to_five(order):
    assert METHOD.order == 5
    assert max(misses(B, order)) < ROUNDING


@pytest.mark.parametrize("order", range(1, 5))
def test_the_embedded_method_meets_every_order_condition_up_to_four(order):
    assert max(misses(B - ERROR, order)) < ROUNDING


def test_neither_method_is_of_higher_order_than_it_says():
    # The smallest coefficients that miss are of the order 1e-4: far from rounding.
    assert max(misses(B, 6)) > 1e-5
    assert max(misses(B - ERROR, 5)) > 1e-5


def test_error_weights_sum_to_zero():
    assert abs(ERROR.sum()) < ROUNDING
    assert abs(ERROR).max() > 1e-2


@pytest.mark.parametrize("theta", [0.1, 0.35, 0.7, 0.93])
@pytest.mark.parametrize("order", range(1, 5))
def test_the_interpolant_meets_every_order_condition_up_to_four(order, theta):
    assert max(misses(weights_at(theta), order, theta)) < ROUNDING


def test_the_interpolant_ends_at_the_step():
    np.testing.assert_allclose(weights_at(1.0), B, atol=ROUNDING)
    np.testing.assert_allclose(weights_at(0.0), 0, atol=0)


def test_the_interpolant_has_the_slopes_of_the_first_and_last_stage():
    powers = np.arange(1, DENSE.shape[1] + 1)
    np.testing.assert_allclose(DENSE[:, 0], np.eye(S)[0], atol=ROUNDING)
    np.testing.assert_allclose(DENSE @ powers, np.eye(S)[-1], atol=1e-12)


def test_the_embedded_weights_are_those_in_common_use():
    """As packages that implement this pair have them."""
    common = [
        0.09468075576583945,
        0.009183565540343254,
        0.4877705284247616,
        1.234297566930479,
        -2.7077123499835256,
        1.866628418170587,
        1 / 66,
    ]
    np.testing.assert_allclose(B - ERROR, common, atol=ROUNDING)
