import math

import numpy as np
import pytest
import torch

from ulpm.optimality.lanczos import smallest_eigenpair


def operator(values, seed=0):
    """A symmetric matrix with these eigenvalues, and its eigenvectors as columns."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return torch.tensor(Q * values @ Q.T), torch.tensor(Q)


def random_vector(size, seed=1):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(vector):
    return vector / torch.linalg.vector_norm(vector)


def on_hyperplane(matrix, normal):
    """The smallest eigenvalue of ΠAΠ on the image of Π, from a basis of it."""
    basis = np.linalg.svd(normal[None].numpy())[2][1:]
    return np.linalg.eigvalsh(basis @ matrix.numpy() @ basis.T)[0]


SPECTRA = {
    "two": [-1.0, 3.0],
    "few": np.linspace(-2, 5, 9),
    "wide": np.concatenate([[-1.0, -0.3], np.geomspace(1e-3, 1e4, 300)]),
    "five clusters": np.concatenate([c + 1e-6 * np.arange(80) for c in (-0.2, 0.0, 1.0, 30.0, 1e4)]),
    "positive": np.linspace(0.5, 5, 200),
    "all equal": np.full(60, -0.7),
    "half of them 0": np.concatenate([np.zeros(100), np.linspace(1, 50, 100)]),
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_the_smallest_eigenvalue_on_a_hyperplane_is_that_of_the_dense_matrix(values):
    matrix, _ = operator(np.asarray(values))
    normal = unit(random_vector(len(values), seed=2))
    pair = smallest_eigenpair(lambda v: matrix @ v, normal, random_vector(len(values)), 1e-9, 5000)
    assert pair.value == pytest.approx(on_hyperplane(matrix, normal), abs=1e-9 + 1e-13 * np.abs(values).max())
    assert pair.error <= 1e-9 + 1e-14 * np.abs(values).max()
    assert float(pair.vector.norm()) == pytest.approx(1, abs=1e-12)
    assert float(pair.vector @ normal) == pytest.approx(0, abs=1e-12)
    image = matrix @ pair.vector
    residual = image - normal * (normal @ image) - pair.value * pair.vector
    assert float(residual.norm()) <= pair.error + 1e-13 * np.abs(values).max()


def test_an_eigenvector_along_the_normal_does_not_count():
    matrix, Q = operator(np.array([-5.0, -1.0, 2.0, 3.0, 4.0]))
    pair = smallest_eigenpair(lambda v: matrix @ v, Q[:, 0].contiguous(), random_vector(5), 1e-10, 100)
    assert pair.value == pytest.approx(-1, abs=1e-12)


def test_when_products_run_out_the_value_is_still_a_bound_and_the_error_says_how_far_it_may_be():
    values = np.concatenate([[-1.0], np.linspace(-0.999, 1e3, 999)])
    matrix, _ = operator(values)
    normal = unit(random_vector(1000, seed=2))
    products = []

    def product(v):
        products.append(1)
        return matrix @ v

    pair = smallest_eigenpair(product, normal, random_vector(1000), 1e-12, 100)
    assert len(products) < 150
    assert pair.value >= on_hyperplane(matrix, normal)
    assert pair.error > 1e-12
    assert float(pair.vector @ matrix @ pair.vector) == pytest.approx(pair.value, rel=1e-10)
    assert np.abs(np.linalg.eigvalsh(matrix.numpy()) - pair.value).min() <= pair.error


def test_the_same_start_gives_the_same_bits():
    matrix, _ = operator(SPECTRA["wide"])
    arguments = (lambda v: matrix @ v, unit(random_vector(302, seed=2)), random_vector(302), 1e-9, 5000)
    first, second = smallest_eigenpair(*arguments), smallest_eigenpair(*arguments)
    assert first.value == second.value
    assert torch.equal(first.vector, second.vector)


def test_the_operator_of_zeros_has_the_eigenvalue_zero():
    pair = smallest_eigenpair(torch.zeros_like, unit(torch.ones(7).double()), random_vector(7), 1e-9, 100)
    assert (pair.value, pair.error) == (0.0, 0.0)
    assert math.isfinite(float(pair.vector.norm()))
