"""What the precision of features leaves undecided about their class means.

Arithmetic is float64 here, but features may be rounded: those of a network to float32 or bfloat16. Rounding moves class
means, also in directions in which they do not differ. Such a direction is told from a real one by its size.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.metrics.moments import ClassStatistics
from ulpm.metrics.precision import COARSEST, EPSILON

# Largest error of a feature over that of its last rounding alone, with a margin of about 3. Measured behind up to four
# layers of up to 512 inputs: 1.5 in bfloat16 and float16, whose products are summed in float32, and 6 in float32 and
# float64, whose sums are rounded as they are.
_MARGIN_OF_HALVES, _MARGIN_OF_SUMS = 4.0, 16.0

# A class that spreads over so many units of rounding has independent rounding errors, which its mean averages.
_DITHERED = 4.0


def margin(epsilon: float) -> float:
    """How many times the last rounding the error of a feature may be."""
    return _MARGIN_OF_SUMS if epsilon < torch.finfo(torch.float16).eps else _MARGIN_OF_HALVES


# The largest share of the size √(Σ_k squared_sizes) of the features at which any format leaves a direction undecided.
LARGEST_SHARE = margin(COARSEST) * COARSEST / math.sqrt(12)


def rounding_of_means(statistics: ClassStatistics) -> Float[Tensor, "*batch"]:
    """What rounding may contribute to a singular value of [μ_1 … μ_K]: the root of the sum of ``squared_rounding``."""
    return squared_rounding(statistics).sum(-1).sqrt()


def squared_rounding(statistics: ClassStatistics) -> Float[Tensor, "*batch K"]:
    """The square of what rounding may move each class mean by.

        margin² (ε²/12) (‖μ_k‖² + v_k) · (1/n_k, or 1 if √v_k < 4 ε √(‖μ_k‖² + v_k))

    An entry h is off by up to ε|h|/2, evenly spread, hence by ε|h|/√12 in the mean square. The mean of n_k samples is
    off by √n_k less if their errors are independent, which they are if the class spreads over several units of
    rounding; samples that are closer together have the same errors.
    """
    scale = statistics.squared_sizes
    # Whatever the features were, means and singular values are those of float64 arithmetic.
    own = (margin(EPSILON) * EPSILON) ** 2 / 12 * scale
    return torch.maximum(_variance(statistics, scale, statistics.epsilon()), own)


def rounding_of_samples(statistics: ClassStatistics) -> Float[Tensor, "*batch K"]:
    """What v_k may be by rounding alone: margin² ε²/12 (‖μ_k‖² + v_k)."""
    epsilon = statistics.epsilon()
    return (margin(epsilon) * epsilon) ** 2 / 12 * statistics.squared_sizes


def rounding_of_spread(statistics: ClassStatistics) -> Float[Tensor, "*batch K"]:
    """Above which v_k the samples are spread: by more than rounding may add, and so far that errors are independent."""
    epsilon = statistics.epsilon()
    grain: float = max(margin(epsilon) / 12**0.5, _DITHERED) * epsilon
    return grain**2 * statistics.squared_sizes


def _variance(statistics: ClassStatistics, scale: Tensor, epsilon: float) -> Tensor:
    dithered = statistics.within_traces >= (_DITHERED * epsilon) ** 2 * scale
    averaged = torch.where(dithered & (epsilon > EPSILON), 1 / statistics.counts, 1.0)
    return (margin(epsilon) * epsilon) ** 2 / 12 * scale * averaged
