"""Measure a network's neural collapse while it trains, at the epochs of a schedule."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ulpm import _checks
from ulpm._modes import evaluation_mode
from ulpm.distributed import ALONE, Shard
from ulpm.metrics.batches import Batch, Unpack, device_of, own_name, run, unwrapped
from ulpm.metrics.centre import Center, require_center
from ulpm.metrics.layers import Layers, chosen_layers
from ulpm.metrics.probe import hooks_run, watched_layers
from ulpm.metrics.reading import NoBatches, Reading, read
from ulpm.monitor.loggers import Log, logger
from ulpm.monitor.schedule import Every, is_due, schedule
from ulpm.monitor.table import Table
from ulpm.monitor.undisturbed import batch_norms, reestimated, restored, undisturbed

__all__ = ["Monitor"]

BatchNorm = Literal["running", "reestimated"]

_SHOWN = 5


class Monitor:
    """Neural collapse of a network while it trains, in three lines of any training loop.

        monitor = ulpm.Monitor(model, {"train": train_loader, "test": test_loader})
        for epoch in range(1, epochs + 1):
            train(...)
            monitor.step(epoch)
        monitor.table

    At the epochs of the schedule the model passes over each loader once, as :func:`ulpm.measure` does, and the metrics
    are added to ``table``. A training is bit for bit the same with a monitor and without: training flags, gradients,
    batch-norm buffers and the state of every random generator, those of the loaders among them, are as before.

    Under torch.distributed every process must call ``step``. Each passes over its own loaders, and all have the
    table of all samples; only the first one logs. Loaders that give every process all samples change no metric.

    A split after the first that lacks samples of a class, or has no batches, has no rows at that epoch, and a warning
    says so: a training goes on. If the first split lacks a class, ``step`` raises ValueError.

    Args:
        model: The network, a torch module.
        loaders: A loader for each split, the training set first; or one loader, whose split is "train". Each is
            iterated again at each measurement.
        every: "log" (each of the first 10 epochs, then four whenever the epoch doubles), a number n (multiples of n),
            or a list of epochs.
        layer: The classifier, if it is not the linear layer that runs last.
        layers: Layers to measure, by names or all of a kind (``nn.Linear``); None is the classifier alone. What needs W
            is left out of the others: see :func:`ulpm.measure`, also for their names in the table.
        means: The name of a split whose class means the others are measured about as well: with ``means="train"`` the
            table has the splits train, test, and "test about train".
        batch_norm: "running" statistics, or "reestimated": means of those of all batches of the first loader under the
            present weights. The model has its own again afterwards.
        center: What stands for μ_G, as in :func:`ulpm.neural_collapse`.
        unpack: A function batch → (inputs, labels) or (inputs, labels, mask) for batches of another form.
        log: A ``SummaryWriter`` of TensorBoard, or a function of a dict such as ``wandb.log``. It gets each measurement
            under the names "split/layer/metric", and a function also "epoch".

    Raises:
        TypeError: If an argument is of another type. From ``step`` as :func:`ulpm.measure`.
        ValueError: If an argument does not fit. From ``step`` as :func:`ulpm.measure`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])) for _ in range(5)]
    >>> monitor = ulpm.Monitor(model, {"train": batches}, every=2)
    >>> for epoch in range(4):
    ...     _ = monitor.step(epoch)
    >>> [row["epoch"] for row in monitor.table.select(metric="nc1_pinv")]
    [0, 2]
    """

    def __init__(
        self,
        model: nn.Module,
        loaders: Mapping[str, Iterable[Any]] | Iterable[Any],
        every: Every = "log",
        *,
        layer: nn.Module | str | None = None,
        layers: Layers | None = None,
        means: str | None = None,
        batch_norm: BatchNorm = "running",
        center: Center = "classes",
        unpack: Unpack | None = None,
        log: Log | None = None,
    ) -> None:
        device_of(model)
        self.model = model
        self.loaders = _named_loaders(loaders)
        require_center(center)
        if layer is not None:
            watched_layers(unwrapped(model), own_name(model, layer))
        self.every = schedule(every)
        if isinstance(layers, list | tuple):
            layers = [own_name(model, each) for each in layers]
        if layers is not None:
            chosen_layers(unwrapped(model), layers)
        if means is not None and means not in self.loaders:
            raise ValueError(
                f"means must be one of the splits {', '.join(self.loaders)}, but it is {_checks.shown(means)}."
            )
        if batch_norm not in ("running", "reestimated"):
            raise ValueError(f"batch_norm must be 'running' or 'reestimated', but it is {_checks.shown(batch_norm)}.")
        self._layer, self._layers, self._means = layer, layers, means
        self._batch_norm, self._center, self._unpack = batch_norm, center, unpack
        self._log = None if log is None else logger(log)
        self._rows: dict[int, Table] = {}

    @property
    def table(self) -> Table:
        """All that was measured: rows of epoch, split, layer, metric and value."""
        return Table(row for rows in self._rows.values() for row in rows)

    def step(self, epoch: int) -> Table:
        """Measure if ``epoch`` is one of the schedule.

        Args:
            epoch: The number of epochs done, from 0.

        Returns:
            The new rows, none if it is not.

        Raises:
            TypeError: As :func:`ulpm.measure`, or if the epoch is no integer.
            ValueError: As :func:`ulpm.measure`, or if the epoch is negative.
        """
        epoch = _checks.integer("epoch", epoch, 0)
        return self.measure(epoch) if is_due(epoch, self.every) else Table()

    def measure(self, epoch: int) -> Table:
        """Measure now, whatever the schedule says; what was measured at this epoch before is replaced.

        Args:
            epoch: The number of epochs done, from 0.

        Returns:
            The new rows.

        Raises:
            TypeError: As :func:`ulpm.measure`, or if the epoch is no integer.
            ValueError: As :func:`ulpm.measure`, or if the epoch is negative.
        """
        epoch = _checks.integer("epoch", epoch, 0)
        rows = Table(
            {"epoch": epoch, "split": split, "layer": layer, "metric": metric, "value": value}
            for split, layer, metrics in self._measured()
            for metric, value in metrics.items()
        )
        self._rows.pop(epoch, None)
        self._rows[epoch] = rows
        if self._log is not None and _shard(self.model).leads:
            self._log(epoch, rows.flat())
        return rows

    def state_dict(self) -> dict[str, Any]:
        """The table as numbers and strings, for a checkpoint of the training."""
        return {"rows": [dict(row) for row in self.table]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the table of a checkpoint."""
        rows = Table(state["rows"])
        self._rows = {epoch: rows.select(epoch=epoch) for epoch in dict.fromkeys(row["epoch"] for row in rows)}

    def lightning_callback(self) -> Any:
        """A callback for the Trainer of Lightning that steps at the end of each training epoch, and before the first.

        The last epoch is measured as well. Metrics are logged under "split/layer/metric", so that ModelCheckpoint and
        EarlyStopping can follow them, and the table is kept in the checkpoints.

        Raises:
            ImportError: If Lightning is not installed.
        """
        from ulpm.monitor.lightning import lightning_callback

        return lightning_callback(self)

    def transformers_callback(self) -> Any:
        """A callback for the ``Trainer`` of Hugging Face's transformers that steps at the end of each epoch, and before
        the first.

        The last epoch is measured as well. Metrics are added to ``trainer.state.log_history``.

        Raises:
            ImportError: If transformers is not installed.
        """
        from ulpm.monitor.transformers import transformers_callback

        return transformers_callback(self)

    def _measured(self) -> list[tuple[str, str, dict[str, float]]]:
        """(split, layer, metrics) of all that is measured at an epoch."""
        model = unwrapped(self.model)
        shard = _shard(self.model)
        norms = batch_norms(model) if self._batch_norm == "reestimated" else []
        with undisturbed(device_of(model), self.loaders.values()), restored(norms):
            if norms:
                self._reestimate(model, norms, shard)
            every = {split: self._read(split, shard) for split in self.loaders}
            readings = self._of_every_class({split: reading for split, reading in every.items() if reading is not None})
            found = [
                (split, layer, _numbers(reading.metrics(layer, self._center)))
                for split, reading in readings.items()
                for layer in reading.samples
            ]
            if self._means in readings:
                own = readings.pop(self._means)
                means = {layer: own.class_means(layer) for layer in own.samples}
                found += [
                    (f"{split} about {self._means}", layer, _numbers(reading.metrics(layer, self._center, about)))
                    for split, reading in readings.items()
                    for layer, about in means.items()
                ]
            return found

    def _of_every_class(self, readings: dict[str, Reading]) -> dict[str, Reading]:
        """Without the splits after the first that lack a class, which must not end a training; these are warned of."""
        complete = {}
        for i, (split, reading) in enumerate(readings.items()):
            absent = reading.absent_classes() if i else []
            if not absent:
                complete[split] = reading
                continue
            warnings.warn(
                f"the split {split!r} is left out of this measurement, since it has no samples of class "
                f"{', '.join(map(str, absent[:_SHOWN]))}{', …' if len(absent) > _SHOWN else ''}: "
                "give it samples of every class.",
                stacklevel=2,
            )
        return complete

    def _read(self, split: str, shard: Shard) -> Reading | None:
        """The samples of a split; None, with a warning, if one after the first has no batches on a process."""
        needed = split == next(iter(self.loaders))

        def own() -> Reading | None:
            try:
                return read(self.model, self.loaders[split], self._layer, self._layers, self._unpack, shard)
            except NoBatches as error:
                if needed:
                    raise ValueError(f"loader {split!r} must give at least one batch, but it gave none.") from error
                return None

        reading = shard.together(own)
        if shard.any(reading is None)[0]:
            warnings.warn(
                f"the split {split!r} is left out of this measurement, since its loader gave no batches: give it "
                "samples of every class.",
                stacklevel=2,
            )
            return None
        return reading

    def _reestimate(self, model: nn.Module, norms: list[Any], shard: Shard) -> None:
        """Give batch norms the mean of the statistics of all batches of the first loader, of all processes."""
        device = device_of(model)

        def pass_over() -> None:
            with hooks_run(), evaluation_mode(model), reestimated(norms):
                for batch in next(iter(self.loaders.values())):
                    run(model, Batch.of(batch, self._unpack).inputs, device)

        shard.together(pass_over)
        for norm in norms:
            weight = norm.num_batches_tracked.double()
            total = shard.all_reduce(weight)
            for buffer in (norm.running_mean, norm.running_var):
                buffer.copy_(shard.all_reduce(buffer.double() * weight) / total)


def _named_loaders(loaders: Mapping[str, Iterable[Any]] | Iterable[Any]) -> dict[str, Iterable[Any]]:
    named = dict(loaders) if isinstance(loaders, Mapping) else {"train": loaders}
    if not named:
        raise ValueError("loaders must hold at least one loader, such as {'train': train_loader}, but it is empty.")
    for split, loader in named.items():
        if not isinstance(split, str) or not (isinstance(loader, Iterable) or hasattr(loader, "__getitem__")):
            raise TypeError(f"loaders must map names to loaders, but {split!r} is a {type(loader).__name__}.")
        if isinstance(loader, Iterator):
            raise TypeError(
                f"loader {split!r} is an iterator, which can be passed over once: "
                "give a DataLoader or a list of batches."
            )
    return named


def _shard(model: nn.Module) -> Shard:
    """This process among those of torch.distributed."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return ALONE
    device = device_of(model) if dist.get_backend() == "nccl" else torch.device("cpu")
    return Shard(dist.get_rank(), dist.get_world_size(), 1, device)


def _numbers(metrics: dict[str, Tensor]) -> dict[str, float]:
    """All of them in one transfer from the device."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))
