"""Read features and logits off any torch classifier, and measure its neural collapse in one pass over the data."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulpm import _checks
from ulpm._modes import evaluation_mode
from ulpm.metrics.absent import Absent, leaves_out, renumbered
from ulpm.metrics.collapse import (
    Center,
    classes_of_samples,
    grand_mean,
    in_order,
    neural_collapse_from_moments,
    where_defined,
)
from ulpm.metrics.few_samples import few_sample_nc1, warn_of_single_samples
from ulpm.metrics.head import affine_error, is_pointwise, output_error, per_sample
from ulpm.metrics.moments import ClassMoments
from ulpm.metrics.nearest import nearest_class
from ulpm.metrics.per_class import with_classes


class Probe:
    """What the watched layer saw in the latest forward pass; made by :func:`probe`.

    Errors: every property raises ValueError while nothing has run yet.
    """

    def __init__(self, names: Mapping[nn.Module, str], chosen: bool) -> None:
        self._names, self._chosen = names, chosen
        self._latest: tuple[nn.Module, Tensor, Tensor] | None = None
        self._runs: Counter[nn.Module] = Counter()
        self._affine_error, self._pooled, self._held = 0.0, False, False

    @property
    def features(self) -> Tensor:
        """Input of the layer, usually [B, d], detached; of a 1×1 convolution the mean over positions."""
        return self._seen()[1]

    @property
    def logits(self) -> Tensor:
        """Output of the layer with its bias, usually [B, K], detached; of a 1×1 convolution the mean over positions."""
        return self._seen()[2]

    @property
    def classifier(self) -> Tensor:
        """W [K, d], the current weight of the layer, detached (it shares memory with the model)."""
        weight: Tensor = self._seen()[0].weight  # type: ignore[assignment]
        return weight.detach().flatten(1)

    @property
    def bias(self) -> Tensor | None:
        """b [K], the current bias of the layer, detached (it shares memory with the model), or None."""
        bias = getattr(self._seen()[0], "bias", None)
        return bias.detach() if isinstance(bias, Tensor) else None

    @property
    def name(self) -> str:
        """Name of the layer in ``named_modules()`` of the model, empty for the model itself."""
        return self._names.get(self._seen()[0], "")

    def _seen(self) -> tuple[nn.Module, Tensor, Tensor]:
        if self._latest is None:
            raise ValueError(
                "the probed layer has not run yet: call model(inputs) inside the with block first, "
                "and give an exported model as the torch module that it was made from."
            )
        return self._latest

    def _begin(self, *_: object) -> None:
        self._runs.clear()

    def _record(self, layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
        features = args[0] if args else next(iter(kwargs.values()), None)
        if not (isinstance(features, Tensor) and isinstance(output, Tensor)):
            if self._chosen:
                raise ValueError(
                    f"layer {self._names[layer]!r} must map one tensor to one: name the linear layer itself."
                )
            return
        self._runs[layer] += 1
        if not self._held:
            with torch.no_grad():
                self._affine_error = affine_error(layer, features, output)
        # Copies, because the model may go on to change both in place.
        h, z = features.detach().clone(), output.detach().clone()
        self._latest = (layer, per_sample(h), per_sample(z)) if is_pointwise(layer) else (layer, h, z)
        self._pooled = is_pointwise(layer) and output.shape[2:].numel() > 1

    def _hold(self, _: nn.Module, inputs: object, returned: object) -> None:
        """Compare the layer with what the model returned, in its first pass. Raises: ValueError if they differ."""
        if self._held or self._latest is None or not bool(torch.isfinite(self._latest[2]).all()):
            return
        self._require_affine()
        # Whoever names a layer may mean an inner one, if it is clear which of its outputs are meant.
        if not self._chosen or self._runs[self._latest[0]] > 1 or self._pooled:
            self._require_output(returned)
        self._held = True

    def _require_affine(self) -> None:
        if self._affine_error:
            raise ValueError(
                f"layer {self.name!r} does not return W h + b of its own weight and bias (relative difference "
                f"{self._affine_error:.1g}): merge what changes it, such as an adapter or a normalisation of W, into "
                "one torch.nn.Linear, or name another layer with layer=..."
            )

    def _require_output(self, returned: object) -> None:
        error = output_error(self.logits, returned) if self.logits.ndim == 2 else 0.0
        if error == 0.0:
            return
        kind = "the linear layer that ran last" if not self._chosen else "the one that was named"
        runs = self._runs[self._seen()[0]]
        calls = f" in the last of its {runs} runs" if runs > 1 else ""
        size = "nothing of this shape is returned" if error is None else f"relative difference {error:.1g}"
        mend = (
            "give a model that runs it once, on the features of the samples"
            if self._chosen
            else "name the classifier with layer=..., or merge the layers that act together, "
            "such as adapters or two heads, into one torch.nn.Linear"
        )
        raise ValueError(f"layer {self.name!r}, {kind}, does not give what the model returns{calls} ({size}): {mend}.")


@contextmanager
def probe(model: nn.Module, layer: nn.Module | str | None = None) -> Iterator[Probe]:
    """Watch the classifier of a network: z = W h + b, with h the features and z the logits.

        with ulpm.probe(model) as seen:
            model(inputs)
            seen.features, seen.logits, seen.classifier, seen.bias

    The layer is the ``torch.nn.Linear`` that is executed last in a forward pass, or ``layer``, a submodule or its
    dotted name; a 1×1 convolution can be named too, and is read at the mean over positions. Properties show the latest
    forward pass; they can still be read after the block, when the hooks are gone, also after an exception.

    The first forward pass is checked. The layer must return W h + b of its own weight and bias, to rounding, which an
    adapter inside it or a cosine classifier does not. If ``layer`` is not given, or runs several times in a pass, z
    must also be what the model returns: the first tensor of its shape, or that under the name ``logits``. It may return
    z/τ with one temperature τ > 0, log-probabilities or probabilities instead: the properties are those of the layer
    all the same, and the metrics do not depend on τ.

    Errors: TypeError if model is no torch module, or one of TorchScript, which runs no hooks; ValueError if it has no
    Linear, or if ``layer`` is not one of its submodules or has no weight matrix; ValueError from the first call of the
    model if a check fails.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> with ulpm.probe(model) as seen:
    ...     logits = model(torch.ones(2, 4))
    >>> seen.features.shape, seen.classifier.shape, bool((seen.logits == logits).all())
    (torch.Size([2, 8]), torch.Size([3, 8]), True)
    """
    watched = _watched(model, layer)
    seen = Probe({module: name for name, module in model.named_modules()}, chosen=layer is not None)
    handles = [model.register_forward_pre_hook(seen._begin)]
    handles += [module.register_forward_hook(seen._record, with_kwargs=True) for module in watched]
    handles.append(model.register_forward_hook(seen._hold))
    try:
        with _hooks_run():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def measure(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    layer: nn.Module | str | None = None,
    center: Center = "classes",
    *,
    means: Float[Tensor, "K d"] | None = None,
    corrected: bool = False,
    per_class: bool = False,
    absent: Absent = "refuse",
) -> dict[str, Float[Tensor, ""] | Float[Tensor, " K"]]:
    """All metrics of :func:`ulpm.neural_collapse` for a network, in one pass over (inputs, labels) batches.

    The model runs on its own device in evaluation mode (batch norm uses its running statistics) and without gradients;
    each submodule gets its training flag back. Features are accumulated in float64 moments and also kept in main
    memory in their own dtype, since nc1_distance and nc4_mismatch need the final class means; the latter compares them
    with the argmax of the logits that the layer gave, bias included.

    With ``means``, class means of other data as ``ClassMoments.class_means`` gives them, these stand for μ_k in every
    formula: test data about the class means of training data. Then h̄ = N⁻¹ Σ_k n_k μ_k, with counts of these data.

    With ``corrected`` the three keys of :func:`ulpm.metrics.few_sample_nc1` are added, for few samples a class.

    With ``per_class`` the values of the single classes are added as ``KEY_per_class``, and the class-balanced nc1. With
    ``absent="leave out"`` classes without samples are left out. Both are those of :func:`ulpm.neural_collapse`.

    Shapes: inputs whatever the model takes, labels [B], means [K, d]; the results are float64 scalars. A warning
    names a class with one sample: its deviation from its own mean is 0 whatever the network does.

    Errors: those of :func:`probe`; ValueError for no batches, features that are not [B, d], a label outside 0 … K−1,
    a class without samples, entries that are not finite; TypeError for batches that are no pairs and labels that are
    not integers.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])) for _ in range(5)]
    >>> metrics = ulpm.measure(model, batches)
    >>> len(metrics), 0 <= float(metrics["nc4_mismatch"]) <= 1
    (18, True)
    """
    moments: ClassMoments | None = None
    seen_batches: list[tuple[Tensor, Tensor, Tensor]] = []
    device = _device(model)
    with probe(model, layer) as seen, evaluation_mode(model), torch.no_grad():
        for inputs, labels in map(_pair, batches):
            model(inputs.to(device))
            if seen.logits.ndim != 2:
                raise ValueError(
                    f"logits must have shape [B, K], one row a sample, but it is {list(seen.logits.shape)}."
                )
            _check_finite(seen)
            if moments is None:
                num_classes, feature_dim = seen.classifier.shape
                _check_outputs(labels, num_classes, layer is None)
                place = device if _checks.has_float64(device) else "cpu"
                moments = ClassMoments(num_classes, feature_dim, place, means)
            moments.update(_at_least_float32(seen.features), labels)
            seen_batches.append((seen.features.cpu(), labels.long().cpu(), seen.logits.argmax(1).cpu()))
        if moments is None:
            raise ValueError("batches must hold at least one (inputs, labels) pair, but it is empty.")
        W, bias, present = _at_least_float32(seen.classifier), seen.bias, moments.counts > 0
        if leaves_out(absent) and not bool(present.all()):
            moments, W, seen_batches = _of_present(moments, W, bias, seen_batches)
        metrics = neural_collapse_from_moments(moments, W, center)
    if means is None:
        warn_of_single_samples(moments)
    metrics = in_order(metrics | where_defined(metrics, _metrics_of_samples(moments, seen_batches)))
    if per_class:
        metrics = with_classes(metrics, classes_of_samples(moments, W, center, seen_batches), present)
    return metrics | few_sample_nc1(moments, center) if corrected else metrics


def _of_present(
    moments: ClassMoments, W: Tensor, bias: Tensor | None, batches: list[tuple[Tensor, Tensor, Tensor]]
) -> tuple[ClassMoments, Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Moments, classifier and batches of the classes that have samples; predictions are among these."""
    present = (moments.counts > 0).cpu()
    rows, offset = W.cpu()[present], None if bias is None else bias.cpu()[present].to(W.dtype)
    again = [
        (h, renumbered(y, present), nn.functional.linear(h.to(rows.dtype), rows, offset).argmax(1))
        for h, y, _ in batches
    ]
    return moments.without_absent(), rows, again


def _pair(batch: object) -> tuple[Any, Tensor]:
    """A batch, if it is (inputs, labels)."""
    if not (isinstance(batch, Sequence) and len(batch) == 2 and hasattr(batch[0], "to")):
        raise TypeError(f"batches must hold pairs (inputs, labels) of tensors, but one is {_named(batch)}.")
    inputs, labels = batch
    return inputs, labels


def _check_finite(seen: Probe) -> None:
    for name, values in (("W", seen.classifier), ("h", seen.features)):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"{name} must be finite, but {name} of layer {seen.name!r} contains NaN or infinity: "
                "the training has diverged, or the inputs are not finite."
            )


def _check_outputs(labels: Tensor, outputs: int, last: bool) -> None:
    """Refuse labels that count from 1, and a layer that ran last but is no classifier, such as a second head."""
    if not (isinstance(labels, Tensor) and labels.numel() and int(labels.max()) >= outputs):
        return
    low, high = int(labels.min()), int(labels.max())
    if low >= 1 and high == outputs:
        raise ValueError(
            f"labels must lie in 0 … {outputs - 1}, the outputs of the classifier, but they lie in {low} … {high}: "
            "subtract 1 if they count from 1."
        )
    if last:
        raise ValueError(
            f"labels go up to {high}, but the linear layer that ran last has only {outputs} outputs: "
            "name the classifier with layer=..."
        )


def _named(thing: object) -> str:
    return f"a {type(thing).__name__} of {len(thing)}" if isinstance(thing, Sequence) else f"a {type(thing).__name__}"


def _metrics_of_samples(moments: ClassMoments, batches: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
    """nc1_distance and nc4_mismatch from (features, labels, predictions), a batch at a time."""
    statistics = moments.statistics()
    from_mean = statistics.means - grand_mean(statistics)
    within, total, wrong = torch.zeros(3, dtype=torch.float64, device=moments.device)
    for h, y, predicted in batches:
        H, y = h.to(moments.device, torch.float64).mT, y.to(moments.device)
        # About a sample of the class, then its mean: free of rounding where features are collapsed.
        deviations = moments.centered(H.mT, y).mT
        within += torch.linalg.vector_norm(deviations, dim=0).sum()
        total += torch.linalg.vector_norm(deviations + from_mean[:, y], dim=0).sum()
        wrong += (nearest_class(statistics, H) != predicted.to(moments.device)).sum()
    return {"nc1_distance": within / total, "nc4_mismatch": wrong / moments.counts.sum()}


def _watched(model: nn.Module, layer: nn.Module | str | None) -> list[nn.Module]:
    """The layer asked for, or every Linear: the one that runs last then leaves the last record."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but a {type(model).__name__} was given.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "model must run hooks, but one of TorchScript runs none: give the module that it was made from."
        )
    if layer is None:
        linears: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not linears:
            raise ValueError("the model has no torch.nn.Linear: name its classifier with layer=...")
        return linears
    named = dict(model.named_modules())
    found = named.get(layer) if isinstance(layer, str) else next((m for m in named.values() if m is layer), None)
    if found is None:
        raise ValueError(f"layer {layer!r} is not a submodule of the model: give one, or its name in named_modules().")
    weight = getattr(found, "weight", None)
    if not (isinstance(weight, Tensor) and (weight.ndim == 2 or is_pointwise(found))):
        raise ValueError(f"layer {layer!r} has no weight matrix [K, d]: name the linear layer that gives the logits.")
    return [found]


def _hooks_run() -> AbstractContextManager[object]:
    """A compiled model leaves out hooks that came after it was compiled: within this it runs as it was written."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _device(model: nn.Module) -> torch.device:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but a {type(model).__name__} was given.")
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _at_least_float32(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
