"""Sums over classes and deviations from them, however samples lie in memory."""

import pytest
import torch

from ulpm import _blocks
from ulpm.metrics.class_statistics import members, statistics_of
from ulpm.metrics.tiles import Membership, column_squares

K, EACH, d = 3, 4, 5
LABELS = torch.arange(K).repeat_interleave(EACH)


def features(layout: str, replicas: tuple[int, ...] = ()) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(*replicas, d, K * EACH, generator=generator, dtype=torch.float64)
    return H if layout == "rows" else H.mT.contiguous().mT


@pytest.mark.parametrize("small", [7, 2**17])
@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("replicas", [(), (2,)])
def test_statistics_are_those_of_the_definition(
    small: int, layout: str, even: bool, replicas: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "SMALL", small)
    H = features(layout, replicas)
    statistics, ratio = statistics_of(H, *members(LABELS, K, even=even))
    classes = H.reshape(*replicas, d, K, EACH)
    means = classes.mean(-1)
    deviations = (classes - means[..., None]).flatten(-2)
    torch.testing.assert_close(statistics.means + statistics.origin, means, rtol=1e-13, atol=1e-14)
    variances = deviations.square().sum(-2).reshape(*replicas, K, EACH).mean(-1)
    torch.testing.assert_close(statistics.within_traces, variances, rtol=1e-13, atol=0)
    total = H - H.mean(-1, keepdim=True)
    want = deviations.square().sum(-2).sqrt().mean(-1) / total.square().sum(-2).sqrt().mean(-1)
    torch.testing.assert_close(ratio, want, rtol=1e-13, atol=0)
    U = torch.eye(d, dtype=torch.float64)[:, :2]
    want = (U.mT @ deviations).square().mean(-1)
    torch.testing.assert_close(statistics.variance_along(U), want, rtol=1e-13, atol=0)


@pytest.mark.parametrize("small", [7, 2**17])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_passes_over_blocks_are_those_over_the_whole(small: int, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "SMALL", small)
    H = features(layout)
    torch.testing.assert_close(column_squares(H), H.square().sum(0), rtol=1e-14, atol=0)
    of_classes = torch.arange(d * K, dtype=torch.float64).reshape(d, K)
    for even in (True, False):
        membership = Membership(LABELS, K, even)
        left, sums = membership.about(H, of_classes)
        assert torch.equal(left, H - of_classes[:, LABELS])
        torch.testing.assert_close(sums, left.reshape(d, K, EACH).sum(-1), rtol=1e-13, atol=1e-13)
        together = membership.squares_with(H, of_classes)
        torch.testing.assert_close(together, (H + of_classes[:, LABELS]).square().sum(0), rtol=1e-14, atol=0)
