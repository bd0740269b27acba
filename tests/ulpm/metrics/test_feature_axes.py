"""Where the features of a layer lie: channels, tokens, and networks that turn one into the other."""

import pytest
import torch
from test_measured_layers import K, literally
from torch import nn

import ulpm

WIDTH = 8


class Speech(nn.Module):
    """Convolutions over time, then tokens."""

    def __init__(self):
        super().__init__()
        self.conv, self.group = nn.Conv1d(2, WIDTH, 3, padding=1), nn.GroupNorm(2, WIDTH)
        self.act, self.drop, self.norm = nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, batch_first=True)
        self.pool, self.head = nn.AvgPool1d(2), nn.Linear(WIDTH, K)

    def forward(self, x):
        channels = self.act(self.group(self.conv(x)))
        tokens = self.drop(self.norm(self.encoder(channels.mT)))
        return self.head(self.pool(tokens.mT).mean(2))


class Windows(nn.Module):
    """Images with features last, as in shifted-window transformers."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, WIDTH, 2, 2), nn.LayerNorm(WIDTH)
        self.block, self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()), nn.Linear(WIDTH, K)

    def forward(self, x):
        return self.head(self.block(self.norm(self.patches(x).permute(0, 2, 3, 1))).mean((1, 2)))


class Turning(nn.Module):
    """A block that makes features the last axis, and channels of them again; channels are weighed by a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.wide = nn.Conv2d(1, WIDTH, 3), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.weigh, self.after, self.head = nn.Linear(WIDTH, WIDTH), nn.Identity(), nn.Linear(WIDTH, K)

    def forward(self, x):
        h = self.wide(self.norm(self.stem(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        h = self.after(h * self.weigh(h.mean((2, 3)))[..., None, None].sigmoid())
        return self.head(h.mean((2, 3)))


def outputs(model, x, name):
    kept = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        model.eval()(x)
    handle.remove()
    return kept[0]


def labelled(*shape):
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(24) % K
    return torch.randn(24, *shape, generator=generator) + y.view(-1, *[1] * len(shape)), y


SOUND, IMAGE = labelled(2, 10), labelled(1, 8, 8)


@pytest.mark.parametrize(
    ("network", "data", "axes"),
    [
        (Speech, SOUND, {"conv": 2, "group": 2, "act": 2, "encoder": 1, "norm": 1, "drop": 1, "pool": 2}),
        (Windows, IMAGE, {"patches": (2, 3), "norm": (1, 2), "block": (1, 2), "block.1": (1, 2)}),
        (Turning, IMAGE, {"stem": (2, 3), "norm": (1, 2), "wide": (1, 2), "after": (2, 3)}),
    ],
)
def test_a_layer_is_averaged_over_its_positions_and_not_over_its_features(network, data, axes):
    torch.manual_seed(0)
    model, (x, y) = network(), data
    found = ulpm.measure(model, [(x, y)], layers=list(axes))
    for name, positions in axes.items():
        expected = literally(outputs(model, x, name).mean(positions), y)
        for key, value in expected.items():
            torch.testing.assert_close(float(found[name][key]), float(value), rtol=1e-4, atol=1e-9, msg=f"{name} {key}")


def test_as_many_tokens_as_features_lie_as_the_last_module_has_them():
    torch.manual_seed(0)
    model, (x, y) = Speech(), labelled(2, WIDTH)
    found = ulpm.measure(model, [(x, y)], layers=["act", "drop"])
    for name, positions in (("act", 2), ("drop", 1)):
        expected = literally(outputs(model, x, name).mean(positions), y)
        torch.testing.assert_close(float(found[name]["nc1_pinv"]), float(expected["nc1_pinv"]), rtol=1e-4, atol=0)


class PositionsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.head = nn.LSTM(2, WIDTH), nn.Linear(WIDTH, K)

    def forward(self, x):
        return self.head(self.memory(x.transpose(0, 1))[0][-1])


def test_samples_of_a_network_that_has_positions_first_are_found():
    torch.manual_seed(0)
    model, (x, y) = PositionsFirst(), labelled(7, 2)
    found = ulpm.measure(model, [(x, y)], layers=["memory"])["memory"]
    states = outputs(model, x, "memory")[0]
    assert states.shape == (7, 24, WIDTH)
    expected = literally(states.mean(0), y)
    torch.testing.assert_close(float(found["nc1_pinv"]), float(expected["nc1_pinv"]), rtol=1e-4, atol=0)


def test_as_many_positions_first_as_samples_are_refused():
    x, y = labelled(24, 2)
    with pytest.raises(ValueError, match=r"'memory' gives \[24, 24, 8\] in a network with batch_first=False"):
        ulpm.measure(PositionsFirst(), [(x, y)], layers=["memory"])


def test_channels_over_time_are_averaged_over_the_mask_of_their_positions():
    torch.manual_seed(0)
    model, (x, y) = Speech(), SOUND
    mask = torch.ones(24, 10)
    mask[::2, 6:] = 0
    model.forward = lambda x, attention_mask: Speech.forward(model, x)
    batch = {"x": x, "attention_mask": mask, "labels": y}
    found = ulpm.measure(model, [batch], layers=["act"])["act"]
    model.forward = lambda x: Speech.forward(model, x)
    h = outputs(model, x, "act")
    average = torch.stack([row[:, keep > 0].mean(1) for row, keep in zip(h, mask, strict=True)])
    expected = literally(average, y)
    torch.testing.assert_close(float(found["nc1_pinv"]), float(expected["nc1_pinv"]), rtol=1e-4, atol=0)


def test_positions_that_a_mask_does_not_fit_are_said_to_include_padding():
    model, (x, y) = Speech(), SOUND
    model.forward = lambda x, attention_mask: Speech.forward(model, x)
    mask = torch.ones(24, 10)
    batch = {"x": x, "attention_mask": mask, "labels": y}
    ulpm.measure(model, [batch], layers=["pool"])
    mask[0, 5:] = 0
    with pytest.warns(UserWarning, match=r"layer 'pool' has 5 positions and attention_mask 10: .* padding included"):
        ulpm.measure(model, [batch, batch], layers=["pool"])
