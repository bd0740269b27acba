"""A monitor as a callback of the Trainer of Hugging Face's transformers."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ulpm.monitor.monitor import Monitor

__all__ = ["transformers_callback"]

_ROUNDING = 1e-6


def transformers_callback(monitor: "Monitor") -> Any:
    """See :meth:`ulpm.Monitor.transformers_callback`."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ImportError(
            "transformers_callback needs the package transformers: pip install 'ulpm[transformers]'."
        ) from error

    class MonitorCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]  # untyped where it is missing
        """Steps a monitor."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Measure the start, or what a checkpoint holds."""
            epoch = state.epoch or 0.0
            if _is_whole(epoch):  # a checkpoint within an epoch must not replace the row of its start
                self._step(state, round(epoch), last=False)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Measure the end of an epoch."""
            last = control.should_training_stop or state.global_step >= state.max_steps
            # Training may stop within an epoch, which counts as this one, not as the last before it.
            self._step(state, round(state.epoch) if _is_whole(state.epoch) else math.ceil(state.epoch), last)

        def _step(self, state: Any, epoch: int, last: bool) -> None:
            rows = monitor.measure(epoch) if last else monitor.step(epoch)
            if rows:
                state.log_history.append({"epoch": epoch, "step": state.global_step, **rows.flat()})

    return MonitorCallback()


def _is_whole(epoch: float) -> bool:
    """Whether this is the end of an epoch: the Trainer adds up fractions."""
    return abs(epoch - round(epoch)) < _ROUNDING
