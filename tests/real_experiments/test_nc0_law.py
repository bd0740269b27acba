"""Σ_k w_k obeys its law to rounding under stochastic gradient descent, with decay and without, and not under Adam."""

import dataclasses
import math

import pytest
import torch

from real_experiments.measure import classifier_sum
from real_experiments.nc0_law import kept_share
from real_experiments.optimizers import make_optimizer
from real_experiments.recipe import Recipe
from real_experiments.trainer import Trainer
from ulpm.support import Shard

CPU = torch.device("cpu")
TINY = Recipe(model="vgg13", width=2, dataset="fashion-mnist-sample", subset=60, batch_size=16)
STEPS = 40


def distance_from_law(recipe: Recipe, steps: int = STEPS) -> float:
    """‖s(t) − f_t s(0)‖/‖W‖ after training."""
    trainer = Trainer(recipe, recipe.load_data(CPU), Shard())
    for _ in range(steps):
        trainer.step()
    now = classifier_sum(trainer.model)
    norm = trainer.model.classifier.weight.detach().double().norm()
    return float((now - kept_share(recipe, steps) * trainer.initial_classifier_sum).norm() / norm)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.05, False), (0.05, True)])
def test_gradient_descent_obeys_the_law(momentum: float, decay: float, decoupled: bool) -> None:
    recipe = dataclasses.replace(TINY, momentum=momentum, weight_decay=decay, decoupled_decay=decoupled)
    assert distance_from_law(recipe) < 1e-5
    assert distance_from_law(dataclasses.replace(recipe, dtype="float64")) < 1e-13


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.2, "bias": True}, {"loss": "focal"}], ids=str)
def test_smoothed_labels_and_the_focal_loss_obey_the_law_with_decay(changes: dict[str, object]) -> None:
    recipe = dataclasses.replace(TINY, model="resnet18", weight_decay=0.05, momentum=0.9, **changes)
    assert distance_from_law(recipe) < 1e-6
    assert distance_from_law(dataclasses.replace(recipe, dtype="float64")) < 1e-13


def test_the_squared_error_has_no_law() -> None:
    assert math.isnan(kept_share(dataclasses.replace(TINY, loss="squared-error"), 10))
    trainer = Trainer(dataclasses.replace(TINY, loss="squared-error"), TINY.load_data(CPU), Shard())
    for _ in range(STEPS):
        trainer.step()
    moved = classifier_sum(trainer.model) - trainer.initial_classifier_sum
    assert float(moved.norm()) > 1e-2


def test_the_law_is_the_recursion_written_out() -> None:
    recipe = dataclasses.replace(TINY, learning_rate=0.1, momentum=0.6, weight_decay=0.3)
    s, v = 1.0, 0.0
    for step in range(1, 50):
        v = 0.6 * v + 0.3 * s
        s = s - 0.1 * v
        assert kept_share(recipe, step) == pytest.approx(s, rel=1e-12)
    assert kept_share(recipe, 0) == 1.0
    assert s < 0.5  # so that a law that ignores decay would be seen


def test_the_law_tells_coupled_decay_from_decoupled_decay() -> None:
    coupled = dataclasses.replace(TINY, momentum=0.9, weight_decay=0.05)
    decoupled = dataclasses.replace(coupled, decoupled_decay=True)
    steps = 200
    assert kept_share(decoupled, steps) == pytest.approx((1 - 0.01 * 0.05) ** steps)
    assert kept_share(coupled, steps) < 0.6 * kept_share(decoupled, steps)  # momentum makes decay ten times as strong


@pytest.mark.parametrize("decay", [5e-4, 1e-4, 1e-5])
def test_errors_of_weak_decoupled_decay_do_not_add_up_over_thousands_of_steps(decay: float) -> None:
    """As many steps as 200 epochs of the paper's recipe on 2,000 images, in float32, on gradients that sum to zero."""
    generator = torch.Generator().manual_seed(0)
    recipe = dataclasses.replace(TINY, weight_decay=decay, decoupled_decay=True)
    model = torch.nn.Linear(32, 10, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(10, 32, generator=generator) / 32**0.5)
    start, optimizer = classifier_sum(model), make_optimizer(recipe, model)
    steps = 3200
    for _ in range(steps):
        noise = 0.1 * torch.randn(10, 32, generator=generator, dtype=torch.float64)
        model.weight.grad = (noise - noise.mean(0)).float()
        optimizer.step()
    distance = classifier_sum(model) - kept_share(recipe, steps) * start
    assert float(distance.norm() / model.weight.detach().double().norm()) < 1e-5


def test_adam_with_coupled_decay_has_no_law() -> None:
    assert kept_share(dataclasses.replace(TINY, optimizer="adam"), 10) == 1.0
    assert math.isnan(kept_share(dataclasses.replace(TINY, optimizer="adam", weight_decay=0.1), 10))
    decayed = dataclasses.replace(TINY, optimizer="adamw", weight_decay=0.1)
    assert kept_share(decayed, 10) == pytest.approx((1 - 0.01 * 0.1) ** 10)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_breaks_the_law(optimizer: str) -> None:
    recipe = dataclasses.replace(TINY, optimizer=optimizer, learning_rate=1e-3)
    assert distance_from_law(recipe) > 1e-2


def test_decoupled_decay_shrinks_every_parameter_beside_the_momentum() -> None:
    recipe = dataclasses.replace(TINY, dtype="float64", weight_decay=0.5, decoupled_decay=True, channels_last=False)
    plain = dataclasses.replace(recipe, weight_decay=0.0, decoupled_decay=False)
    trainers = [Trainer(each, each.load_data(CPU), Shard()) for each in (recipe, plain)]
    before = {name: value.detach().clone() for name, value in trainers[0].model.named_parameters()}
    for trainer in trainers:
        trainer.step()
    with_decay, without = (dict(trainer.model.named_parameters()) for trainer in trainers)
    for name, start in before.items():
        torch.testing.assert_close(with_decay[name] - without[name], -0.01 * 0.5 * start, rtol=1e-6, atol=1e-12)
