"""The claimed exponents, and the measured ones."""

from torch import Tensor

import ulpm
from theory_experiments.numerics.exponents import Interval, confidence, fitted_exponents
from theory_experiments.numerics.late_laws import mean_row_bend, quantities
from theory_experiments.theorems.rates.config import SHARP, SHARP_RANGE, Config
from theory_experiments.theorems.rates.measurement import Data
from ulpm.support import law_exponents

__all__ = ["claimed_exponents", "generic", "measured_exponents", "sharp_exponents"]

_SLIGHTLY_WIDER = (0.999 * SHARP_RANGE[0], 1.001 * SHARP_RANGE[1])  # the last record is at its end up to rounding


def claimed_exponents(config: Config, kind: str, path: ulpm.Trajectory) -> dict[str, float]:
    """The claimed exponents. If d is too small, they are those of enough dimensions: this claim must fail."""
    problem = path.problem
    roomy = ulpm.Problem(problem.class_counts, max(problem.feature_dim, problem.num_classes))
    laws = law_exponents(roomy, centred=kind == "centred")
    # The gap of the bounds is a difference of gaps of the logits, and soon falls to their error in the flow.
    laws.pop("gap", None)
    return laws


def measured_exponents(config: Config, data: Data) -> dict[str, dict[str, Interval]]:
    """The exponent of each quantity that has one, and of complementary slackness."""
    found: dict[str, dict[str, Interval]] = {}
    for kind, path in data.paths.items():
        values = quantities(path)
        found[kind] = {
            name: confidence(fitted_exponents(path.log_time, values[name], config.fit_from))
            for name in claimed_exponents(config, kind, path)
        }
        if "complementarity" not in found[kind]:
            # It falls to the error of the gaps before the others do, so we fit the decade before.
            early = fitted_exponents(path.log_time, values["complementarity"], config.fit_from / 10, config.fit_from)
            found[kind]["complementarity"] = confidence(early)
    return found


def generic(path: ulpm.Trajectory) -> Tensor:
    """The starts whose mean row is not almost orthogonal to the classifier's span: the next term is below 0.01."""
    return mean_row_bend(path, 1e4) < 0.01


def sharp_exponents(path: ulpm.Trajectory) -> dict[str, Interval]:
    """The exponents of the quantities claimed to 0.01, over generic starts."""
    log_time, kept = path.log_time, generic(path)
    slopes = {name: fitted_exponents(log_time, path.metrics[name], *_SLIGHTLY_WIDER) for name in SHARP}
    return {name: confidence(found[kept]) for name, found in slopes.items()}
