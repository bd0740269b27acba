"""What a metric is."""

import dataclasses
from collections.abc import Callable

from torch import Tensor

from ulpm.metrics.frame import Frame

__all__ = ["Metric"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: its key, its formula in LaTeX as figures write it, and what it is ``of`` a Frame.

    ``of`` is None for the two that are found from the samples, one by one. Formulas in full are in
    ``ulpm.neural_collapse``.
    """

    key: str
    latex: str
    of: Callable[[Frame], Tensor] | None = None
