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


class Concatenating(nn.Module):
    """A dense block, as wide as the image, pixels made of channels, and a mask of an image of one pixel."""

    def __init__(self):
        super().__init__()
        self.stem, self.grow, self.norm = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1), ImageNorm(12)
        self.dense, self.wide, self.shuffle = nn.Identity(), nn.Conv2d(12, 16, 1), nn.PixelShuffle(2)
        self.pool, self.mask, self.after = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 1, 1), nn.Identity()
        self.head = nn.Linear(4, K)

    def forward(self, x):
        h = self.stem(x)
        h = self.pool(self.shuffle(self.wide(self.norm(self.dense(torch.cat([h, self.grow(h)], 1))))))
        return self.head(self.after(h * self.mask(h).sigmoid()).flatten(1))


class ImageNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mixing(nn.Module):
    """Tokens that are mixed by a linear layer over positions, and gated features."""

    def __init__(self, positions=10):
        super().__init__()
        self.embed, self.mix, self.mixed = nn.Linear(2, WIDTH), nn.Linear(positions, positions), nn.Identity()
        self.wide, self.gate, self.head = nn.Linear(WIDTH, positions), nn.GLU(), nn.Linear(positions // 2, K)

    def forward(self, x):
        return self.head(self.gate(self.wide(self.mixed(self.mix(self.embed(x.mT).mT).mT))).mean(1))


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
        (Concatenating, IMAGE, {"dense": (2, 3), "shuffle": (2, 3), "pool": (2, 3), "after": (2, 3)}),
        (Mixing, SOUND, {"embed": 1, "mixed": 1, "wide": 1, "gate": 1}),
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


def test_a_norm_of_channels_of_an_image_as_wide_as_it_has_channels_is_averaged_over_pixels():
    torch.manual_seed(0)
    model, (x, y) = Concatenating(), labelled(1, 12, 12)
    found = ulpm.measure(model, [(x, y)], layers=["norm"])["norm"]
    expected = literally(outputs(model, x, "norm").mean((2, 3)), y)
    torch.testing.assert_close(float(found["nc1_pinv"]), float(expected["nc1_pinv"]), rtol=1e-4, atol=0)


class Windowed(nn.Module):
    """Tokens in windows, whose number has nothing to do with that of the samples."""

    def __init__(self):
        super().__init__()
        self.embed, self.inside, self.head = nn.Linear(1, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, K)

    def forward(self, x):
        return self.head(self.inside(self.embed(x.reshape(-1, 24, 1))).reshape(24, -1, WIDTH).mean(1))


def test_windows_of_as_many_tokens_as_there_are_samples_are_no_samples():
    with pytest.raises(ValueError, match=r"labels must have shape \[48\]"):
        ulpm.measure(Windowed(), [labelled(2, 24)], layers=["inside"])


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(2, 2, 4, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(2, K)

    def forward(self, x, attention_mask):
        tokens, there = self.encoder(x, src_key_padding_mask=attention_mask == 0), attention_mask[..., None]
        return self.head(torch.where(there > 0, tokens, 0.0).sum(1) / there.sum(1))


@pytest.mark.parametrize("layers", [None, ["encoder"]])
def test_an_encoder_of_masked_tokens_is_measured_though_torch_has_a_short_cut_for_it(layers):
    torch.manual_seed(0)
    model, (x, y) = Masked(), labelled(10, 2)
    mask = torch.ones(24, 10)
    mask[::2, 6:] = 0
    found = ulpm.measure(model, [{"x": x, "attention_mask": mask, "labels": y}], layers=layers)
    found = found if layers is None else found["encoder"]
    tokens = model.train().encoder(x, src_key_padding_mask=mask == 0).detach()  # no short cut, and no dropout
    average = torch.stack([row[keep > 0].mean(0) for row, keep in zip(tokens, mask, strict=True)])
    torch.testing.assert_close(float(found["nc1_ratio"]), float(literally(average, y)["nc1_ratio"]), rtol=1e-4, atol=0)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_part_of_torchscript_beside_a_layer_is_left_alone():
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(torch.jit.script(nn.Linear(2, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, K)), labelled(2)
    found = ulpm.measure(model, [(x, y)], layers=["1"])["1"]
    expected = literally(outputs(model, x, "1"), y)
    torch.testing.assert_close(float(found["nc1_ratio"]), float(expected["nc1_ratio"]), rtol=1e-4, atol=0)


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
