"""Measure a network's neural collapse on its training set, and the quantities of the theory while it trains."""

import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import ulpm
from real_experiments.data import Dataset
from real_experiments.losses import ModelLoss
from real_experiments.nc0_law import kept_share
from real_experiments.schedule import steps_per_epoch
from real_experiments.training_checkpoint import identify, restore_network
from real_experiments.training_directory import TrainingDirectory
from ulpm.support import Shard, checks, evaluation_mode, files

__all__ = [
    "Measure",
    "Measurement",
    "classifier_sum",
    "measure_network",
    "measure_unseen",
    "with_reestimated_batchnorm",
]

ALONE = Shard()
CROSS_ENTROPY = ulpm.CrossEntropy()


@dataclasses.dataclass(frozen=True, eq=False)
class Measurement:
    """Columns of metrics.csv (``values``), and the state that they are of: W [K, d], H [d, N] sorted by class.

    All is computed in float64 from the features h_i and the classifier W (and bias b, if there is one):

        train_loss            L/N, L = Σ_i ℓ(z_i, y_i), by default logsumexp(Z_{:,i}) − Z_{y_i,i}, Z = W H + b1ᵀ;
                              evaluation mode, without the penalty of weight decay
        train_error           share of samples with argmax_k Z_{k,i} ≠ y_i
        log_loss              log L, of the sum: finite when L is too small for a number
        squared_norm          ρ² = ‖W‖² + ‖H‖²
        classifier_squared_norm   ‖W‖²
        margin                q_min = min_{i, j≠y_i} (Z_{y_i,i} − Z_{j,i})
        normalised_margin     q_min/ρ²
        nc0 … nc4_mismatch    ulpm.neural_collapse
        classifier_sum_drift  ‖Σ_k w_k(t) − Σ_k w_k(0)‖/‖W‖: for sgd without weight decay zero up to rounding
        nc0_law               what nc0 is by the law of Σ_k w_k under the optimiser (nc0_law.py), from Σ_k w_k(0)
        nc0_law_error         ‖Σ_k w_k(t) − f_t Σ_k w_k(0)‖/‖W‖, the distance from that law: rounding, but for Adam
        certificate_…         bounds of the margin problem's optimum that (W, H) proves, and their gap: ulpm.certify;
                              of losses alone that margins without end lower
    """

    values: dict[str, float]
    problem: ulpm.Problem
    W: Float[Tensor, "K d"]
    H: Float[Tensor, "d N"]
    bias: Float[Tensor, " K"] | None

    def tensors(self) -> dict[str, Tensor]:
        """The state as a snapshot keeps it, in float32."""
        bias = {} if self.bias is None else {"bias": self.bias.float()}
        return {"W": self.W.float(), "H": self.H.float(), "labels": self.problem.labels, **bias}


def measure_network(
    model: nn.Module,
    dataset: Dataset,
    batch_size: int = 500,
    initial_classifier_sum: Float[Tensor, " d"] | None = None,
    shard: Shard = ALONE,
    share_of_sum: float = 1.0,
    loss: ModelLoss = CROSS_ENTROPY,
) -> Measurement:
    """Measure ``model`` on all of ``dataset`` in one pass in evaluation mode, without autocast.

    Features are the input of the Linear that runs last. Each process passes its share of the images and has the whole
    result. Without the sum Σ_k w_k(0) of the start (``classifier_sum``) there are no columns of it and of its law, by
    which ``share_of_sum`` of it should be left.
    The whole of H is kept in float64, 8dN bytes, since the certificate needs it; the metrics then come from the
    samples themselves, which is more exact than from their moments and cheaper (no d × d scatter).

    Raises: ValueError for features that are not finite, or a class without samples.
    """
    problem, state = _as_model(model, dataset, batch_size, shard, loss)
    return _measurement(problem, state, initial_classifier_sum, share_of_sum)


def measure_unseen(
    model: nn.Module,
    dataset: Dataset,
    batch_size: int = 500,
    shard: Shard = ALONE,
    loss: ModelLoss = CROSS_ENTROPY,
) -> dict[str, float]:
    """Loss, error and every metric on images that the network was not trained on, in evaluation mode.

    Class means and all else are those of these images, so that what is measured is whether *their* features collapse.
    Keys: loss (mean), error, and those of ``ulpm.neural_collapse`` that are not of the classifier alone. Raises: as
    ``measure_network``.
    """
    problem, state = _as_model(model, dataset, batch_size, shard, loss)
    found = _loss_and_error(problem, state)
    found = {"loss": found["train_loss"], "error": found["train_error"]} | _metrics(problem, state)
    return _numbers({name: value for name, value in found.items() if name != "nc0" and "_classifier" not in name})


def classifier_sum(model: nn.Module) -> Float[Tensor, " d"]:
    """Σ_k w_k of the last Linear in float64: conserved by stochastic gradient descent without weight decay."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    return linear.weight.detach().double().sum(0)


def with_reestimated_batchnorm(
    model: nn.Module, dataset: Dataset, batch_size: int = 500, shard: Shard = ALONE
) -> nn.Module:
    """A copy of ``model`` whose running batch-norm statistics are the mean of those of batches of the training set.

    Running statistics are averages over past parameters; these belong to the present ones. Batches are as even as
    possible and mixed (one fixed permutation), since a data set sorted by class would give those of single classes.
    """
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(dataset.images), generator=generator).to(dataset.images.device)
    dtype = next(model.parameters()).dtype

    def batches() -> Iterator[Tensor]:
        for indices in order.tensor_split(math.ceil(len(order) / batch_size)):
            yield dataset.images[indices[shard.part(len(indices))]].to(dtype)

    with torch.no_grad():
        update_bn(batches(), copied)
    return copied


def _features(
    model: nn.Module, images: Float[Tensor, "N C height width"], batch_size: int
) -> tuple[Float[Tensor, "N d"], Float[Tensor, "K d"], Float[Tensor, " K"] | None]:
    """The input of the last layer for each image, with the weight and bias of that layer."""
    dtype = next(model.parameters()).dtype
    with ulpm.probe(model) as seen, evaluation_mode(model), torch.no_grad():
        features = []
        for batch in torch.split(images, batch_size):
            model(batch.to(dtype))
            features.append(seen.features)
        return torch.cat(features), seen.classifier, seen.bias


def _as_model(
    model: nn.Module, dataset: Dataset, batch_size: int, shard: Shard, loss: ModelLoss
) -> tuple[ulpm.Problem, ulpm.State]:
    """Last layer and features in float64 as a state of the model with this loss, without decay."""
    N = len(dataset.images)
    features, W, bias = _features(model, dataset.images[shard.part(N)], batch_size)
    features = shard.join(features, N, axis=0).double()
    plain, state = ulpm.from_features(features, dataset.labels.to(features.device), classifier=W.double())
    problem = ulpm.Problem(plain.class_counts, plain.feature_dim, loss, bias=bias is not None)
    return problem, ulpm.State(state.W, state.H, None if bias is None else bias.double())


def _loss_and_error(problem: ulpm.Problem, state: ulpm.State) -> dict[str, Tensor]:
    """Mean loss, error, log L, norms and margin."""
    W, H, b = state.W, state.H, state.b
    Z = W @ H if b is None else W @ H + b[:, None]
    log_loss, margin = ulpm.log_loss(problem, state), ulpm.margin(problem, state)
    return {
        "train_loss": log_loss.exp() / problem.num_samples,
        "train_error": (Z.argmax(0) != problem.labels.to(H.device)).double().mean(),
        "log_loss": log_loss,
        "squared_norm": state.squared_norm,
        "classifier_squared_norm": W.square().sum(),
        "margin": margin,
        "normalised_margin": margin / state.squared_norm,
    }


def _metrics(problem: ulpm.Problem, state: ulpm.State) -> dict[str, Tensor]:
    return ulpm.neural_collapse(state.W, state.H, problem.labels.to(state.H.device), state.b)


def _measurement(
    problem: ulpm.Problem, state: ulpm.State, initial_sum: Tensor | None, share_of_sum: float
) -> Measurement:
    W, H = state.W, state.H
    found = _loss_and_error(problem, state) | _metrics(problem, state)
    if initial_sum is not None:
        norm, start, now = torch.linalg.vector_norm(W), initial_sum.to(W), W.sum(0)
        found["classifier_sum_drift"] = torch.linalg.vector_norm(now - start) / norm
        found["nc0_law"] = torch.linalg.vector_norm(share_of_sum * start) / norm
        found["nc0_law_error"] = torch.linalg.vector_norm(now - share_of_sum * start) / norm
    if problem.has_margins:
        certificate = ulpm.certify(problem, state)
        found |= {
            "certificate_lower_bound": certificate.lower_bound,
            "certificate_upper_bound": certificate.upper_bound,
            "certificate_nuclear_upper_bound": certificate.nuclear_upper_bound,
            "certificate_gap": certificate.gap,
        }
    return Measurement(_numbers(found), problem, W, H, state.b)


def _numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """All of them in one transfer from the device."""
    return dict(zip(values, torch.stack([value.double() for value in values.values()]).tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Measure:
    """Measure the network of a training run again, from its last checkpoint."""

    run_directory: Annotated[Path, tyro.conf.Positional]
    """The --out of `train`."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:1."""
    json: Path | None = None
    """Write the numbers here in JSON."""

    def run(self) -> int:
        device = checks.device(self.device)
        epoch, running, reestimated = measure_run(TrainingDirectory(self.run_directory), device)
        Console().print(_table(f"{self.run_directory}, epoch {epoch:g}", running, reestimated))
        if self.json is not None:
            numbers = {"running": running, "reestimated": reestimated}
            files.write_text(self.json, json.dumps(_finite({"epoch": epoch, **numbers}), indent=2) + "\n")
        return 0


def measure_run(directory: TrainingDirectory, device: torch.device) -> tuple[float, dict[str, float], dict[str, float]]:
    """The epoch of the last checkpoint, and its network measured with running and with re-estimated statistics.

    Raises: OSError or ValueError with one sentence if the run or its data are not there, or damaged.
    """
    checkpoint = directory.read_checkpoint()
    recipe, tensors, steps = checkpoint.recipe, checkpoint.tensors, checkpoint.steps
    dataset = recipe.load_data(device)
    checkpoint.require(recipe, identify(dataset))
    initial_sum = tensors.pop("initial_classifier_sum", None)
    model = recipe.build(dataset, device)
    restore_network(directory.checkpoint, model, tensors)
    images, kept = recipe.load_unseen(dataset, device), kept_share(recipe, steps)
    found = []
    for each in (model, with_reestimated_batchnorm(model, dataset, recipe.measurement_batch)):
        values = measure_network(
            each, dataset, recipe.measurement_batch, initial_sum, share_of_sum=kept, loss=recipe.model_loss
        ).values
        if images is not None:
            unseen = measure_unseen(each, images, recipe.measurement_batch, loss=recipe.model_loss)
            values |= {f"test_{name}": value for name, value in unseen.items()}
        found.append(values)
    return steps / steps_per_epoch(len(dataset.images), recipe.batch_size), found[0], found[1]


def _table(title: str, running: dict[str, float], reestimated: dict[str, float]) -> Table:
    table = Table(title=title)
    for name in ("", "running statistics", "re-estimated statistics"):
        table.add_column(name, justify="right" if name else "left")
    for name, value in running.items():
        table.add_row(name, f"{value:.6g}", f"{reestimated[name]:.6g}")
    return table


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return value if math.isfinite(value) else None
