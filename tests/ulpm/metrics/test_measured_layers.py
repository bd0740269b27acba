"""Layers beside the classifier: their features, and the metrics that need no classifier."""

import pytest
import torch
from metrics_oracle import assert_close
from torch import nn

import ulpm

K, CHANNELS = 3, 5


def network():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, CHANNELS, 3), nn.BatchNorm2d(CHANNELS), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * CHANNELS, 7), nn.ReLU(), nn.Linear(7, K)
    )


def data(size=24):
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(K, (size,), generator=generator)
    return torch.randn(size, 1, 6, 6, generator=generator) + y[:, None, None, None], y


def literally(h, y):
    """NC1 and NC2 of means, and the accuracy of the nearest class mean, by loops."""
    h = h.double()
    means = torch.stack([h[y == k].mean(0) for k in range(K)])
    W = torch.ones(K, h.shape[1], dtype=torch.float64).cumsum(0)  # any
    found = ulpm.neural_collapse(W, h.T, y)
    nearest = [min(range(K), key=lambda k: float((row - means[k]).norm())) for row in h]
    right = sum(k == int(label) for k, label in zip(nearest, y, strict=True)) / len(y)
    keys = [key for key in found if key.startswith(("nc1", "nc2")) and "classifier" not in key]
    return {key: found[key] for key in keys} | {"ncc_accuracy": right}


def test_layers_are_measured_by_name_maps_at_the_mean_over_positions():
    model, (x, y) = network(), data()
    found = ulpm.measure(model, [(x[:10], y[:10]), (x[10:], y[10:])], layers=["1", "2", "6", "7"])
    assert list(found) == ["1", "2", "6", "7"]
    model.eval()
    with torch.no_grad():
        after = {name: nn.Sequential(*list(model)[: int(name) + 1])(x) for name in found}
    for name in ("1", "2", "6"):
        h = after[name].flatten(2).mean(2) if after[name].ndim > 2 else after[name]
        assert_close(found[name], literally(h, y), rtol=1e-4)
        assert 0 < float(found[name]["ncc_accuracy"]) <= 1
    head = dict(found["7"])
    del head["ncc_accuracy"]
    assert_close(head, ulpm.measure(model, [(x, y)]), rtol=1e-4)


def test_layers_are_chosen_by_their_kind():
    model, (x, y) = network(), data()
    assert list(ulpm.measure(model, [(x, y)], layers=nn.Linear)) == ["5", "7"]
    assert "nc3_duality" not in ulpm.measure(model, [(x, y)], layers=nn.ReLU)["2"]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.head = nn.Linear(6, K)

    def forward(self, x, attention_mask=None):
        return self.head(self.block(x)[:, 0])


def test_tokens_are_averaged_over_the_mask():
    model, (_, y) = Encoder().eval(), data()
    x = torch.randn(24, 4, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(24, 4, dtype=torch.int64)
    mask[::2, 2:] = 0
    with torch.no_grad():
        h = model.block(x)
    average = torch.stack([row[keep > 0].mean(0) for row, keep in zip(h, mask, strict=True)])
    batch = {"x": x, "attention_mask": mask, "labels": y}
    assert_close(ulpm.measure(model, [batch], layers=["block"])["block"], literally(average, y), rtol=1e-5)
    unmasked = ulpm.measure(model, [(x, y)], layers=["block"])["block"]
    assert_close(unmasked, literally(h.mean(1), y), rtol=1e-5)


def test_channels_of_one_dimensional_maps_come_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, K))
    x, (_, y) = torch.randn(24, 2, 9), data()
    with torch.no_grad():
        h = model[:2](x).mean(2)
    for name in ("1", "3"):
        assert_close(ulpm.measure(model, [(x, y)], layers=[name])[name], literally(h, y), rtol=1e-5)


def test_a_wide_layer_needs_no_square_matrix():
    width = 30_000  # whose square has 7 GB
    model = nn.Sequential(nn.Linear(2, width), nn.Flatten(), nn.Linear(width, K))
    y = torch.arange(9) % K
    found = ulpm.measure(model, [(torch.randn(9, 2) + y[:, None], y)], layers=["0"])["0"]
    assert torch.stack(list(found.values())).isfinite().all()


def test_an_empty_batch_changes_nothing_wherever_it_is():
    model, (x, y) = network(), data()
    expected = ulpm.measure(model, [(x, y)])
    for batches in ([(x[:0], y[:0]), (x, y)], [(x, y), (x[:0], y[:0])]):
        found = ulpm.measure(model, batches)
        assert {key: float(value) for key, value in found.items()} == {k: float(v) for k, v in expected.items()}


def test_a_network_with_one_output_is_refused():
    x, y = torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"at least two classes, but the classifier '0' has one output"):
        ulpm.measure(nn.Sequential(nn.Linear(2, 1)), [(x, y)])


def test_a_layer_that_does_not_run_or_gives_no_features_is_refused():
    model, (x, y) = network(), data()
    model.add_module("unused", nn.Linear(2, 2))
    model.forward = lambda x: nn.Sequential(*list(model)[:8])(x)
    with pytest.raises(ValueError, match="layer 'unused' did not run"):
        ulpm.measure(model, [(x, y)], layers=["unused"])
    with pytest.raises(ValueError, match="for the classifier alone"):
        ulpm.measure(model, [(x, y)], layers=["2"], corrected=True)
