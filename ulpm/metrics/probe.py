"""Read features and logits off any torch classifier."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ulpm import _checks
from ulpm.metrics.head import affine_error, is_pointwise, output_error, per_sample, tensors

__all__ = ["Probe", "hooks_run", "plain_attention", "probe", "watched_layers", "watching"]


class Probe:
    """What the watched layer saw in the latest forward pass; made by :func:`probe`.

    Raises:
        ValueError: From every property while nothing has run yet.
    """

    def __init__(self, names: Mapping[nn.Module, str], chosen: bool) -> None:
        self._names, self._chosen = names, chosen
        self._latest: tuple[nn.Module, Tensor, Tensor] | None = None
        self._runs: Counter[nn.Module] = Counter()
        self._affine_error, self._held, self._only_head = 0.0, False, False
        self._handles: dict[nn.Module, RemovableHandle] = {}
        self._returned: object = None

    @property
    def features(self) -> Tensor:
        """Input of the layer, usually [B, d], detached; of a 1×1 convolution the mean over positions."""
        layer, h, _ = self._seen()
        return per_sample(h) if is_pointwise(layer) else h

    @property
    def logits(self) -> Tensor:
        """Output of the layer with its bias, usually [B, K], detached; of a 1×1 convolution the mean over positions."""
        layer, _, z = self._seen()
        return per_sample(z) if is_pointwise(layer) else z

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
        self._latest = (layer, features.detach().clone(), output.detach().clone())

    def _hold(self, _: nn.Module, inputs: object, returned: object) -> None:
        """Compare the layer with what the model returned, in its first pass with samples.

        Raises: ValueError if they differ.
        """
        self._returned = returned if self._only_head else None
        if self._held or self._latest is None or not self._latest[2].numel():
            return
        if not bool(torch.isfinite(self._latest[2]).all()):
            return
        self._require_affine()
        # Whoever names a layer may mean an inner one, if it is clear which of its outputs are meant.
        layer, z = self._latest[0], self._latest[2]
        pooled = is_pointwise(layer) and z.shape[2:].numel() > 1
        if not self._chosen or self._runs[layer] > 1 or pooled:
            self._require_output(returned)
        self._held = True
        if self._only_head:
            for watched, handle in self._handles.items():
                if watched is not layer:
                    handle.remove()

    def _require_affine(self) -> None:
        if self._affine_error:
            raise ValueError(
                f"layer {self.name!r} does not return W h + b of its own weight and bias (relative difference "
                f"{self._affine_error:.1g}): merge what changes it, such as an adapter or a normalisation of W, into "
                "one torch.nn.Linear, or name another layer with layer=..."
            )

    def _output_error(self, returned: object) -> float | None:
        layer, _, z = self._seen()
        same = next((each for each in tensors(returned) if each.shape == z.shape), None) if z.ndim > 2 else None
        if same is not None:  # logits at each position
            z, same = ((t.movedim(1, -1) if is_pointwise(layer) else t).flatten(0, -2) for t in (z, same))
            return output_error(z, same)
        return output_error(self.logits, returned) if self.logits.ndim == 2 else 0.0

    def _require_output(self, returned: object) -> None:
        error = self._output_error(returned)
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

    Properties show the latest forward pass. They can still be read after the block, when the hooks are gone, also after
    an exception.

    The first forward pass is checked. The layer must return W h + b of its own weight and bias, to rounding, which an
    adapter inside it or a cosine classifier does not. If ``layer`` is not given, or runs several times in a pass, z
    must also be what the model returns: the first tensor of its shape, or that under the name ``logits``. It may return
    z/τ with one temperature τ > 0, log-probabilities or probabilities instead: the properties are those of the layer
    all the same, and the metrics do not depend on τ.

    Args:
        model: The network, a torch module.
        layer: The classifier, a submodule or its dotted name; by default the ``torch.nn.Linear`` that runs last in a
            forward pass. A 1×1 convolution can be named too: it is read at the mean over positions.

    Returns:
        A context manager that gives a Probe. Its shapes are usually features [B, d], logits [B, K], classifier [K, d]
        and bias [K].

    Raises:
        TypeError: If the model is no torch module, or one of TorchScript, which runs no hooks.
        ValueError: If the model has no Linear, or ``layer`` is not one of its submodules or has no weight matrix. From
            the first call of the model if a check fails.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> with ulpm.probe(model) as seen:
    ...     logits = model(torch.ones(2, 4))
    >>> seen.features.shape, seen.classifier.shape, bool((seen.logits == logits).all())
    (torch.Size([2, 8]), torch.Size([3, 8]), True)
    """
    with watching(model, layer) as seen:
        yield seen


@contextmanager
def watching(model: nn.Module, layer: nn.Module | str | None = None, only_head: bool = False) -> Iterator[Probe]:
    """:func:`probe`; with ``only_head`` what the first pass finds to be the classifier is watched alone from then on,
    and copies of other layers are saved.
    """
    watched = watched_layers(model, layer)
    seen = Probe({module: name for name, module in model.named_modules()}, chosen=layer is not None)
    seen._only_head = only_head
    handles = [model.register_forward_pre_hook(seen._begin)]
    seen._handles = {module: module.register_forward_hook(seen._record, with_kwargs=True) for module in watched}
    handles.append(model.register_forward_hook(seen._hold))
    try:
        with hooks_run(), nullcontext() if layer is not None else plain_attention():
            yield seen
    finally:
        for handle in [*handles, *seen._handles.values()]:
            handle.remove()


def watched_layers(model: nn.Module, layer: nn.Module | str | None) -> list[nn.Module]:
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
        raise ValueError(
            f"layer {_checks.shown(layer)} is not a submodule of the model: give one, or its name in named_modules()."
        )
    weight = getattr(found, "weight", None)
    # That of a lazy layer has no shape before it has run.
    matrix = isinstance(weight, nn.UninitializedParameter) or (isinstance(weight, Tensor) and weight.ndim == 2)
    if not (matrix or (isinstance(weight, Tensor) and is_pointwise(found))):
        raise ValueError(
            f"layer {_checks.shown(layer)} has no weight matrix [K, d]: name the linear layer that gives the logits."
        )
    return [found]


@contextmanager
def plain_attention() -> Iterator[None]:
    """Within it, encoders of torch take no short cut in evaluation mode: layers get tokens without shapes by it."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def hooks_run() -> AbstractContextManager[object]:
    """A compiled model leaves out hooks that came after it was compiled: within this it runs as it was written."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
