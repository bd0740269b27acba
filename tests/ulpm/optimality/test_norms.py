import numpy as np
import pytest
import torch

from ulpm.optimality.norms import nuclear_norm, operator_norm


def graded(K, N, smallest, seed=0):
    """A K × N matrix with singular values from 1 down to ``smallest``, and these values."""
    rng = np.random.default_rng(seed)
    values = np.geomspace(1, smallest, K)
    U, V = np.linalg.qr(rng.standard_normal((K, K)))[0], np.linalg.qr(rng.standard_normal((N, K)))[0]
    return torch.tensor(U * values @ V.T), values


@pytest.mark.parametrize(("K", "N"), [(2, 2), (3, 7), (10, 400)])
@pytest.mark.parametrize("smallest", [0.5, 1e-6, 1e-12])
def test_norms_are_right_to_rounding_however_small_the_other_singular_values(K, N, smallest):
    matrix, values = graded(K, N, smallest)
    assert float(operator_norm(matrix)) == pytest.approx(1, rel=1e-14)
    assert float(nuclear_norm(matrix)) == pytest.approx(values.sum(), rel=1e-14)


def test_a_matrix_of_low_rank_has_the_nuclear_norm_of_its_rank():
    """The square roots of rounding errors of a Gram matrix would add 1e-8."""
    matrix = torch.zeros(6, 50, dtype=torch.float64)
    matrix[:2] = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(nuclear_norm(matrix)) == pytest.approx(np.linalg.svd(matrix[:2])[1].sum(), rel=1e-14)


def test_norms_of_a_batch_are_those_of_its_matrices():
    matrices = torch.randn(3, 2, 4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    singular_values = np.linalg.svd(matrices.numpy(), compute_uv=False)
    np.testing.assert_allclose(operator_norm(matrices), singular_values[..., 0], rtol=1e-14)
    np.testing.assert_allclose(nuclear_norm(matrices), singular_values.sum(-1), rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-150, 0.0, 1e75])
def test_norms_scale_with_the_matrix(scale):
    matrix, values = graded(3, 8, 0.1)
    assert float(operator_norm(scale * matrix)) == pytest.approx(scale, rel=1e-14, abs=0)
    assert float(nuclear_norm(scale * matrix)) == pytest.approx(scale * values.sum(), rel=1e-14, abs=0)
