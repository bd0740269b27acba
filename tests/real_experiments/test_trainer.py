"""Training does what the recipe says: deterministic, every sample, a conserved classifier sum, a float32 last layer."""

import dataclasses

import pytest
import torch
from test_training_losses import by_hand
from torch import nn

from real_experiments.recipe import Recipe
from real_experiments.trainer import FullPrecisionLinear, Trainer
from ulpm.support import Shard

CPU = torch.device("cpu")
TINY = Recipe(model="resnet18", width=4, dataset="fashion-mnist-sample", subset=60, batch_size=16, epochs=2)


def trainer(recipe: Recipe = TINY, steps: int = 0) -> Trainer:
    made = Trainer(recipe, recipe.load_data(CPU), Shard())
    for _ in range(steps):
        made.step()
    return made


def same_bits(a: Trainer, b: Trainer) -> bool:
    states = a.state(), b.state()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0].keys() | states[1].keys())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": True},
        {"label_smoothing": 0.2, "bias": True},
        {"loss": "focal", "gamma": 1.5},
        {"loss": "squared-error", "bias": True},
    ],
    ids=str,
)
def test_a_step_is_gradient_descent_with_momentum_on_the_mean_loss(changes: dict[str, object]) -> None:
    recipe = dataclasses.replace(TINY, dtype="float64", weight_decay=0.01, channels_last=False, **changes)
    tested, data = trainer(recipe), recipe.load_data(CPU)
    model = recipe.build(data, CPU).train()
    velocity = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for _ in range(3):
        tested.step()
        batch = tested._batches[tested.steps - 1]
        loss = by_hand(recipe.model_loss, model(data.images[batch].double()), data.labels[batch]) / len(batch)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, value), gradient in zip(model.named_parameters(), gradients, strict=True):
                velocity[name] = 0.3 * velocity[name] + gradient + 0.01 * value
                value -= 0.01 * velocity[name]
    for (name, value), other in zip(tested.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-12, msg=name)


def test_a_seed_decides_everything_and_the_global_generator_nothing() -> None:
    torch.manual_seed(1)
    first = trainer(steps=5)
    torch.manual_seed(2)
    assert same_bits(first, trainer(steps=5))
    assert not same_bits(first, trainer(dataclasses.replace(TINY, seed=1), steps=5))


def test_every_sample_is_seen_once_an_epoch() -> None:
    made = trainer(steps=4)
    assert made.steps_per_epoch == 4
    assert made.epoch == 1
    assert made._seen == 60
    made.step()
    assert made._seen == 16


def test_a_single_sample_left_over_does_not_break_batch_norm_of_single_pixels() -> None:
    data = TINY.load_data(CPU)
    eight = dataclasses.replace(data, images=data.images[:33, :, ::4, ::4], labels=data.labels[:33])  # 7 × 7 pixels
    made = Trainer(TINY, eight, Shard())
    for _ in range(made.steps_per_epoch):
        made.step()
    assert made.epoch == 1
    assert all(bool(torch.isfinite(value).all()) for value in made.model.parameters())


@pytest.mark.parametrize("bf16", [False, True])
def test_the_classifier_sum_is_conserved_without_weight_decay_and_only_then(bf16: bool) -> None:
    drifts = []
    for weight_decay in (0.0, 0.1):
        recipe = dataclasses.replace(TINY, weight_decay=weight_decay, bf16=bf16, reestimate=False, learning_rate=0.05)
        row, _ = trainer(recipe, steps=20).measure()
        drifts.append(row["classifier_sum_drift"])
    assert drifts[0] < 1e-5
    assert drifts[1] > 1e-2


def test_autocast_leaves_the_last_layer_and_the_loss_in_float32() -> None:
    made = trainer(dataclasses.replace(TINY, bf16=True))
    dtypes: dict[str, torch.dtype] = {}

    def note(name: str) -> None:
        layer = made.model.get_submodule(name)
        layer.register_forward_hook(lambda module, args, output: dtypes.update({name: output.dtype}))

    convolution = next(name for name, module in made.model.named_modules() if isinstance(module, nn.Conv2d))
    note(convolution)
    note("classifier")
    made.step()
    assert dtypes == {convolution: torch.bfloat16, "classifier": torch.float32}
    assert isinstance(made.model.classifier, FullPrecisionLinear)
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in made.model.parameters())


def classifier_after_steps(**changes: object) -> torch.Tensor:
    return trainer(dataclasses.replace(TINY, **changes), steps=3).model.classifier.weight.detach()


def test_channels_last_and_bf16_change_rounding_only() -> None:
    exact = classifier_after_steps(width=8, channels_last=False, dtype="float64")
    size = float(exact.norm())
    assert 0 < float((classifier_after_steps(width=8, dtype="float64") - exact).norm()) < 1e-9 * size
    assert 0 < float((classifier_after_steps(width=8, bf16=True) - exact).norm()) < 3e-2 * size


def test_flow_time_is_that_of_the_summed_loss_with_momentum() -> None:
    made = trainer(steps=3)
    assert made.flow_time == pytest.approx(3 * 0.01 / (0.7 * 60), rel=1e-12)


def test_divergence_gets_one_sentence() -> None:
    made = trainer(dataclasses.replace(TINY, learning_rate=1e30), steps=4)
    with pytest.raises(ValueError, match="the training diverged by epoch 1: lower --learning-rate"):
        made.measure()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0"),
        ({"momentum": 1.0}, "--momentum must be"),
        ({"weight_decay": -0.1}, "--weight-decay must be at least 0"),
        ({"label_smoothing": -0.1}, "--label-smoothing must be at least 0"),
        ({"label_smoothing": 1.0}, "--label-smoothing must be .*below 1"),
        ({"loss": "focal", "gamma": -1.0}, "--gamma must be at least 0"),
        ({"loss": "focal", "label_smoothing": 0.1}, "--label-smoothing is an option of cross-entropy, and --loss is"),
        ({"gamma": 1.0}, "--gamma is an option of focal, and --loss is cross-entropy: leave it out"),
        ({"bf16": True, "dtype": "float64"}, "--bf16 keeps its parameters in float32"),
        ({"subset": 20, "class_counts": "2x10"}, "--subset and --class-counts"),
        ({"seed": -1}, "--seed must be at least 0"),
    ],
)
def test_a_recipe_that_makes_no_sense_gets_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)
