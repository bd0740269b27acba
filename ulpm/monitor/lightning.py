"""A monitor as a callback of Lightning, whichever of its two packages the training uses."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulpm.monitor.monitor import Monitor

__all__ = ["lightning_callback"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def lightning_callback(monitor: "Monitor") -> Any:
    """See :meth:`ulpm.Monitor.lightning_callback`."""
    lightning = _lightning()

    class MonitorCallback(lightning.Callback):  # type: ignore[misc, name-defined]
        """Steps a monitor, under the precision of the training."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Measure the start, or what a checkpoint holds."""
            self._step(trainer, pl_module, trainer.current_epoch, last=False)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Measure the end of an epoch."""
            done = trainer.current_epoch + 1
            self._step(trainer, pl_module, done, last=trainer.should_stop or done == trainer.max_epochs)

        def _step(self, trainer: Any, pl_module: Any, epoch: int, last: bool) -> None:
            with trainer.precision_plugin.forward_context():
                rows = monitor.measure(epoch) if last else monitor.step(epoch)
            if not rows:
                return
            if epoch == trainer.current_epoch:  # at the start nothing can be logged by the module
                for logger in trainer.loggers:
                    logger.log_metrics(rows.flat(), step=trainer.global_step)
            else:
                pl_module.log_dict(rows.flat(), sync_dist=trainer.world_size > 1, batch_size=1)

        def state_dict(self) -> dict[str, Any]:
            return monitor.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            monitor.load_state_dict(state_dict)

    return MonitorCallback()


def _lightning() -> Any:
    """The package that the training has imported, or one that is installed. Raises: ImportError if none is."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("lightning_callback needs Lightning: pip install 'ulpm[lightning]'.")
