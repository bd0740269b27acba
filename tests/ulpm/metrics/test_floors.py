"""At exact collapse every metric reads less than its floor, and not much less."""

import math

import pytest
import torch

from ulpm.metrics import METRICS, neural_collapse, precision_floors


def rounded_collapse(dtype, K, n, d, offset, scale, seed, equal, aligned):
    """W and H of exact collapse, each entry off by its own rounding; W of the same scale, with a common vector."""
    g = torch.Generator().manual_seed(seed)
    axes = (
        torch.eye(d, K + 1, dtype=torch.float64) if aligned else torch.randn(d, K + 1, generator=g, dtype=torch.float64)
    )
    Q = torch.linalg.qr(axes)[0]
    simplex = Q[:, :K] @ (torch.eye(K, dtype=torch.float64) - 1 / K) * math.sqrt(K / (K - 1))
    y = torch.arange(K).repeat_interleave(n)
    H = scale * (simplex + offset * Q[:, K:])
    H = H.repeat_interleave(n, 1)
    noise = 2 * torch.rand(d, K if equal else K * n, generator=g, dtype=torch.float64) - 1
    noise = noise.repeat_interleave(n, 1) if equal else noise
    H = H * (1 + torch.finfo(dtype).eps / 2 * noise)
    return (simplex.T / scale).to(dtype).double(), H.to(dtype).double(), y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("K", "n", "d", "offset", "scale", "equal", "aligned"),
    [
        (2, 1, 3, 0.0, 1.0, True, False),
        (3, 4, 5, 0.0, 1e3, True, False),
        (4, 5, 20, 0.0, 1.0, False, False),
        (4, 5, 20, 10.0, 1e-4, False, False),
        (10, 20, 64, 0.0, 1.0, False, False),
        (10, 20, 64, 30.0, 1.0, True, False),
        (10, 5, 64, 0.0, 1.0, False, True),
        (40, 3, 64, 0.0, 50.0, False, False),
    ],
)
def test_exact_collapse_reads_below_the_floors_and_not_far_below(dtype, K, n, d, offset, scale, equal, aligned):
    largest = dict.fromkeys(METRICS, 0.0)
    for seed in range(5):
        W, H, y = rounded_collapse(dtype, K, n, d, offset, scale, seed, equal, aligned)
        found, floors = neural_collapse(W, H, y), precision_floors(W, H, y, dtype)
        assert set(floors) == set(METRICS)
        for key in METRICS:
            assert float(found[key]) <= float(floors[key]), key
            largest[key] = max(largest[key], float(found[key]) / max(float(floors[key]), 1e-300))
    # Exact zeros (equal samples, two classes), and entries that all round alike, are no noise to compare with.
    for key, share in largest.items():
        if share > 0 and K > 2 and not aligned:
            assert share > 1e-3, (key, share)


def test_replicas_have_floors_of_their_own():
    W, H, y = rounded_collapse(torch.float32, 4, 3, 6, 0.0, 1.0, 0, False, False)
    batch = precision_floors(torch.stack([W, W + 1]), torch.stack([H, H + 5]), y, torch.float32)
    for b, alone in enumerate(
        (precision_floors(W, H, y, torch.float32), precision_floors(W + 1, H + 5, y, torch.float32))
    ):
        for key in METRICS:
            assert float(batch[key][b]) == pytest.approx(float(alone[key]), rel=1e-12)
    assert float(batch["nc1_ratio"][1]) > 10 * float(batch["nc1_ratio"][0])
