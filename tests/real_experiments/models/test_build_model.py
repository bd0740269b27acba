"""Both networks are made from a seed, take every data set, and can be watched, trained and laid out as torch wants."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ulpm
from real_experiments.models import NETWORKS, build_model
from real_experiments.models.network import Network

both = pytest.mark.parametrize("name", NETWORKS)


@both
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (1, 32), (3, 28)])
def test_both_networks_take_the_images_of_every_data_set(name: str, channels: int, side: int) -> None:
    model = build_model(name, num_classes=7, channels=channels, width=2)
    assert model.classifier.in_features == 16
    assert model.classifier.bias is None
    assert model.features(torch.randn(3, channels, side, side)).shape == (3, 16)
    assert model(torch.randn(3, channels, side, side)).shape == (3, 7)


@both
def test_at_the_width_of_the_paper_there_are_512_features(name: str) -> None:
    assert build_model(name).classifier.in_features == 512


@both
def test_the_seed_decides_the_weights_and_the_global_random_numbers_neither_matter_nor_change(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_model(name, width=2, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_model(name, width=2, seed=3).state_dict(), build_model(name, width=2, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    drawn = [key for key in first if first[key].ndim > 1]
    assert len(drawn) >= 11
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


@both
def test_the_initial_weights_have_the_documented_distributions(name: str) -> None:
    model = build_model(name, channels=3, width=32, bias=True).requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs, count = module.weight[0].numel(), module.weight.numel()
            assert 0.98 < float(module.weight.abs().max()) * math.sqrt(inputs) <= 1
            # U(−b, b) has the variance b²/3, and its mean over n numbers five standard deviations √(b²/3n).
            assert abs(float(module.weight.mean())) < 5 / math.sqrt(3 * inputs * count)
            # Its squares have the mean b²/3 and the variance 4b⁴/45.
            assert abs(3 * inputs * float(module.weight.square().mean()) - 1) < 5 * 3 * math.sqrt(4 / 45 / count)
        elif isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
            assert bool((module.running_mean == 0).all())
            assert bool((module.running_var == 1).all())
    assert bool((model.classifier.bias == 0).all())


@both
def test_every_parameter_is_trained_and_a_step_lowers_the_loss(name: str) -> None:
    model = build_model(name, width=4)
    images, labels = torch.randn(20, 1, 28, 28), torch.arange(20) % 10
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())
    assert losses[-1] < losses[0]


@both
def test_the_memory_layout_changes_nothing_and_is_kept(name: str) -> None:
    model = build_model(name, channels=3, width=4).eval()
    images = torch.randn(4, 3, 32, 32)
    want = model(images)
    model = model.to(memory_format=torch.channels_last)
    layouts = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    torch.testing.assert_close(model(images.to(memory_format=torch.channels_last)), want, rtol=1e-4, atol=1e-5)
    assert all(layouts)


@both
def test_the_probe_finds_the_classifier_and_the_features(name: str) -> None:
    model = build_model(name, width=2).eval()
    images = torch.randn(6, 1, 28, 28)
    with ulpm.probe(model) as seen, torch.no_grad():
        logits = model(images)
        assert torch.equal(seen.features, model.features(images))
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.classifier, model.classifier.weight)
    assert seen.bias is None


class Other(nn.Module):
    """A network whose first layers are none that the initialisation knows."""

    def __init__(self, num_classes: int, channels: int, width: int, bias: bool) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(channels, width, 3)
        self.shift = nn.Parameter(torch.randn(width, 1, 1))
        self.classifier = nn.Linear(width, num_classes, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier((self.first(x) + self.shift).relu().mean((2, 3)))


def test_the_seed_decides_the_weights_of_layers_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "other", Network("other", "Other", Other))
    made = []
    for state, seed in ((1, 3), (2, 3), (2, 4)):
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        made.append(build_model("other", 3, width=2, seed=seed).state_dict())
        assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
    assert not any(torch.equal(made[1][key], made[2][key]) for key in made[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("fault", ["no linear layer", "another name", "a later layer", "outputs", "bias"])
def test_a_network_whose_last_layer_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def build(num_classes: int, channels: int, width: int, bias: bool) -> nn.Module:
        model = Other(num_classes + (fault == "outputs"), channels, width, bias or fault == "bias")
        if fault in ("no linear layer", "another name"):
            classifier, model.classifier = model.classifier, nn.Identity()
            if fault == "another name":
                model.head = classifier
        if fault == "a later layer":
            model.auxiliary = nn.Linear(width, num_classes, bias=bias)
        return model

    monkeypatch.setitem(NETWORKS, "other", Network("other", "Other", build))
    message = r"^the last torch\.nn\.Linear of other must be its attribute classifier, with 3 outputs and no bias\.$"
    with pytest.raises(TypeError, match=message):
        build_model("other", 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "vgg16"}, ValueError, "no model 'vgg16': choose one of resnet18, vgg13"),
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2"),
        ({"channels": 0}, ValueError, "channels must be at least 1"),
        ({"width": 0}, ValueError, "width must be at least 1"),
        ({"width": 1.5}, TypeError, "width must be an integer, but 1.5 was given"),
        ({"seed": True}, TypeError, "seed must be an integer, but True was given"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_model(**{"name": "vgg13", **options})  # type: ignore[arg-type]
