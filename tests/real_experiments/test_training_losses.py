"""A batch of a network has the loss that the model has, by torch's definition and by that of ``ulpm``."""

import pytest
import torch
from torch.nn import functional as F

import ulpm
from real_experiments.losses import ModelLoss, summed_loss
from real_experiments.recipe import Recipe

LOSSES = [
    ulpm.CrossEntropy(),
    ulpm.CrossEntropy(label_smoothing=0.1),
    ulpm.Focal(0.5),
    ulpm.Focal(2.0),
    ulpm.SquaredError(),
]
COUNTS = (4, 3, 2)


def by_hand(loss: ModelLoss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The definitions of textbooks and of torch."""
    one_hot = torch.eye(logits.shape[1], dtype=logits.dtype)[labels]
    if isinstance(loss, ulpm.SquaredError):
        return 0.5 * F.mse_loss(logits, one_hot, reduction="sum")
    if isinstance(loss, ulpm.CrossEntropy):
        return F.cross_entropy(logits, labels, label_smoothing=loss.label_smoothing, reduction="sum")
    p = (logits.softmax(1) * one_hot).sum(1)
    return -((1 - p) ** loss.gamma * p.log()).sum()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    problem = ulpm.Problem(COUNTS, 5)
    state = problem.random_state(seed=0, scale=1.5)
    return (state.W @ state.H).T, problem.labels


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_loss_and_its_gradient_are_those_written_out_by_hand(loss: ModelLoss) -> None:
    found = []
    for function in (summed_loss, by_hand):
        logits, labels = batch()
        logits.requires_grad_()
        value = function(loss, logits, labels)
        found.append((value.detach(), *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_loss_is_that_of_the_model(loss: ModelLoss) -> None:
    problem = ulpm.Problem(COUNTS, 5, loss)
    state = problem.random_state(seed=0, scale=1.5)
    logits, labels = batch()
    assert float(summed_loss(loss, logits, labels).log()) == pytest.approx(float(ulpm.log_loss(problem, state)))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("gap", [20.0, 200.0])
def test_logits_far_on_the_right_side_have_finite_gradients_in_float32(loss: ModelLoss, gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(summed_loss(loss, logits, torch.tensor([0])), logits)
    assert bool(torch.isfinite(gradient).all())


def test_the_options_of_a_recipe_name_the_loss() -> None:
    assert Recipe().model_loss == ulpm.CrossEntropy()
    assert Recipe(label_smoothing=0.1).model_loss == ulpm.CrossEntropy(label_smoothing=0.1)
    assert Recipe(loss="focal", gamma=1.0).model_loss == ulpm.Focal(1.0)
    assert Recipe(loss="squared-error").model_loss == ulpm.SquaredError()


def test_a_recipe_without_these_options_is_written_and_read_as_before_there_were_any() -> None:
    plain = Recipe().to_json()
    assert not {"loss", "label_smoothing", "gamma"} & plain.keys()
    assert Recipe.from_json(plain) == Recipe()
    for changed in (Recipe(label_smoothing=0.1), Recipe(loss="focal", gamma=1.0), Recipe(loss="squared-error")):
        assert Recipe.from_json(changed.to_json()) == changed
        assert Recipe.from_json(plain).differences(changed)
        assert changed.differences(Recipe.from_json(plain))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"label_smoothing": 0.1, "weight_decay": 5e-4}, "label smoothing 0.1, weight decay 0.0005"),
        ({"loss": "focal", "bias": True}, "focal loss of γ = 2, bias"),
        ({"loss": "squared-error", "optimizer": "adam"}, "squared error, Adam"),
    ],
)
def test_what_is_not_as_in_the_paper_is_named(changes: dict[str, object], words: str) -> None:
    assert Recipe(**changes).deviation() == words  # type: ignore[arg-type]
