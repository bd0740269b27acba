"""A measurement is what the metrics, the loss and the certificate say of the stacked features, and changes nothing."""

import copy
import dataclasses
import math
import time
from collections.abc import Callable

import pytest
import torch
from test_training_losses import LOSSES, by_hand
from torch import nn

import ulpm
from real_experiments.data import Dataset, load_dataset, subset
from real_experiments.losses import ModelLoss
from real_experiments.measure import classifier_sum, measure_network, with_reestimated_batchnorm
from real_experiments.models import build_model


@pytest.fixture(scope="module")
def data() -> Dataset:
    return subset(load_dataset("fashion-mnist-sample"), class_counts=[7, 5, 4])


@pytest.fixture(params=[False, True], ids=["without bias", "with bias"])
def model(request: pytest.FixtureRequest, data: Dataset) -> nn.Module:
    made = build_model("resnet18", 3, 1, 4, request.param, seed=1)
    if request.param:
        nn.init.normal_(made.classifier.bias)
    with torch.no_grad():
        for _ in range(3):
            made(data.images)  # running statistics that are not those of the start
    return made.train()


def stacked(model: nn.Module, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [N, d] and logits [N, K], all images at once."""
    frozen = copy.deepcopy(model).eval()
    with torch.no_grad(), ulpm.probe(frozen) as seen:
        frozen(data.images)
        return seen.features.double(), seen.logits.double()


def test_the_metrics_are_those_of_the_stacked_features(model: nn.Module, data: Dataset) -> None:
    found = measure_network(model, data, batch_size=5)
    features, logits = stacked(model, data)
    bias = model.classifier.bias
    W = model.classifier.weight.detach().double()
    expected = ulpm.neural_collapse(W, features.T, data.labels, None if bias is None else bias.detach().double())
    assert expected.keys() <= found.values.keys()
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    losses = nn.functional.cross_entropy(logits, data.labels, reduction="none")
    assert found.values["train_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert found.values["log_loss"] == pytest.approx(float(losses.sum().log()), rel=1e-5)
    assert found.values["train_error"] == float((logits.argmax(1) != data.labels).double().mean())
    own = logits.gather(1, data.labels[:, None])
    others = logits.scatter(1, data.labels[:, None], -torch.inf).amax(1, keepdim=True)
    assert found.values["margin"] == pytest.approx(float((own - others).min()), rel=1e-4)
    squared_norm = float(W.square().sum() + features.square().sum())
    assert found.values["squared_norm"] == pytest.approx(squared_norm, rel=1e-5)
    assert found.values["normalised_margin"] == pytest.approx(found.values["margin"] / squared_norm, rel=1e-4)


def test_the_metrics_are_those_of_streamed_moments(model: nn.Module, data: Dataset) -> None:
    found = measure_network(model, data, batch_size=6)
    for name, value in ulpm.measure(model, [(data.images, data.labels)]).items():
        assert found.values[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def test_the_state_is_sorted_by_class_whatever_the_order_of_samples(model: nn.Module, data: Dataset) -> None:
    mixed = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(0))
    shuffled = dataclasses.replace(data, images=data.images[mixed], labels=data.labels[mixed])
    a, b = measure_network(model, data, 5), measure_network(model, shuffled, 4)
    assert a.values == pytest.approx(b.values, rel=1e-4, abs=1e-6)
    snapshot = b.tensors()
    assert snapshot["labels"].tolist() == [0] * 7 + [1] * 5 + [2] * 4
    assert snapshot["H"].dtype == snapshot["W"].dtype == torch.float32
    again = ulpm.neural_collapse(snapshot["W"], snapshot["H"], snapshot["labels"])
    assert float(again["nc1_pinv"]) == pytest.approx(b.values["nc1_pinv"], rel=1e-4)


def test_the_certificate_is_that_of_the_state_and_encloses_the_optimum(data: Dataset) -> None:
    model = build_model("vgg13", 3, 1, 4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(data.images), data.labels))
        optimizer.step()
    model = with_reestimated_batchnorm(model, data, len(data.labels))
    found = measure_network(model, data)
    assert found.values["train_error"] == 0
    lower, upper = (found.values[f"certificate_{end}_bound"] for end in ("lower", "nuclear_upper"))
    optimum = found.problem.minimum_norm_value
    assert lower <= optimum <= upper <= found.values["certificate_upper_bound"] < torch.inf
    assert found.values["certificate_gap"] == pytest.approx(upper / lower - 1, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_and_columns_are_those_of_the_loss_that_is_trained(
    model: nn.Module, data: Dataset, loss: ModelLoss
) -> None:
    found = measure_network(model, data, loss=loss).values
    _, logits = stacked(model, data)
    assert found["train_loss"] == pytest.approx(float(by_hand(loss, logits, data.labels)) / len(data.labels), rel=1e-5)
    margins_grow = not isinstance(loss, ulpm.SquaredError) and loss != ulpm.CrossEntropy(label_smoothing=0.1)
    assert ("certificate_gap" in found) == margins_grow
    assert all(math.isfinite(value) for name, value in found.items() if not name.startswith("certificate"))


def test_the_drift_of_the_classifier_sum_is_relative_to_the_classifier(model: nn.Module, data: Dataset) -> None:
    assert "classifier_sum_drift" not in measure_network(model, data).values
    start = classifier_sum(model)
    assert measure_network(model, data, initial_classifier_sum=start).values["classifier_sum_drift"] < 1e-15
    size = float(model.classifier.weight.detach().double().norm())
    shifted = measure_network(model, data, initial_classifier_sum=start + 1).values
    assert shifted["classifier_sum_drift"] == pytest.approx(len(start) ** 0.5 / size, rel=1e-9)


def test_measuring_leaves_the_network_as_it_was(model: nn.Module, data: Dataset) -> None:
    model.classifier.eval()
    flags = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_network(model, data)
    with_reestimated_batchnorm(model, data, 5)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_reestimated_statistics_are_those_of_the_training_set_sorted_or_not(data: Dataset) -> None:
    layer = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 3))
    by_class = dataclasses.replace(data, images=data.images.sort(0).values)
    for images in (data, by_class):
        whole = with_reestimated_batchnorm(layer, images, 1000)[0]
        assert float(whole.running_mean) == pytest.approx(float(images.images.mean()), abs=1e-6)
        assert float(whole.running_var) == pytest.approx(float(images.images.var()), rel=1e-5)
        parts = with_reestimated_batchnorm(layer, images, 5)[0]  # 4, 4, 4, 4
        assert float(parts.running_mean) == pytest.approx(float(images.images.mean()), abs=1e-6)
        assert whole.momentum == 0.1
    assert float(layer[0].running_mean) == 0


def test_a_class_without_images_gets_one_sentence(data: Dataset) -> None:
    without = dataclasses.replace(data, images=data.images[:12], labels=data.labels[:12])
    with pytest.raises(ValueError, match="class 2 has no samples"):
        measure_network(build_model("resnet18", 3, 1, 4), without)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vgg13"])
def test_measuring_costs_at_most_a_tenth_beyond_its_forward_passes(name: str) -> None:
    data, model = load_dataset("fashion-mnist-sample"), build_model(name, 10, 1, 16, seed=0)
    initial = classifier_sum(model)

    def forward() -> None:
        with torch.no_grad():
            for batch in data.images.split(500):
                model.eval()(batch)

    def seconds(action: Callable[[], object]) -> float:
        began = time.process_time()
        action()
        return time.process_time() - began

    passes, measured = [], []
    for _ in range(5):
        passes.append(seconds(forward))
        measured.append(seconds(lambda: measure_network(model, data, 500, initial)))
    assert min(measured) <= 1.1 * min(passes)
