"""The claims about the escape: growth along the witness, exits in s and in log t, and ends."""

import math

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest, line
from theory_experiments.theorems.escape.config import Config
from theory_experiments.theorems.escape.measurement import Case, growth

__all__ = ["check"]


def check(config: Config, data: tuple[Case, ...]) -> list[Claim]:
    """Invariants; growth along the witness; exits in s and in log t; ends."""
    over = f"over {len(data)} cases and {config.starts} starts each"
    slopes, exponents = [], []
    for case in data:
        predicted = 1 / case.rate(config)
        slopes.append(abs(line(-case.size.log(), case.exits(case.s))[0] / predicted - 1))
        exponent = -2 * predicted / (case.K * math.sqrt(case.n))
        measured = line(case.size.log(), case.exits(case.path.log_time.cpu()).log())[0]
        exponents.append(abs(measured / exponent - 1))
    rates = [abs(rate / case.rate(config) - 1) for case in data for rate in growth(case)]
    return [
        *invariant_claims(case.path for case in data),
        Claim(
            "Growth rate in s of the share of Θ along the witness, up to 0.1, divided by the predicted rate, "
            f"distance from 1: largest of {len(rates)} starts",
            greatest(rates),
            "<=",
            0.05,
            "corrections are of the order of the squared component, at most 0.01, and of e^(−q_min/(b − 1)), at "
            "most e^(−10); they add up over a few units of s",
        ),
        Claim(
            "Slope of the exit in s against log(1/ε), divided by K√n (K − b)/b, distance from 1: largest over "
            f"{len(data)} cases",
            greatest(slopes),
            "<=",
            0.05,
            "corrections are of the order of ε², at most 0.01 at one end of the range of log(1/ε), whose length is "
            "3 or more; a wrong rate is wrong by b/K or more, at least a third",
        ),
        Claim(
            "Exponent of log t at the exit against ε, divided by −2(K − b)/b, distance from 1: largest over "
            f"{len(data)} cases",
            greatest(exponents),
            "<=",
            0.05,
            "as for the slope in s; also, log t replaces ρ²/(2K√n) up to log log t, less than 5% of it from log t "
            "= 1e2 on",
        ),
        Claim(
            f"½ρ²/q_min divided by (K − 1)√n, minus 1, at log t = {config.log_time:g}: largest {over}",
            greatest([float(x) / (case.K - 1) for case in data for x in case.share[-1]]),
            "<=",
            1e-3,
            "the correction is of the order of ρ² at the exit over log t at the end; a start that stayed would be "
            "at 1/(K − 1), 0.2 or more",
        ),
        Claim(
            f"Mean distance of the cosines from −1/(K − 1), for W and for class means, at the end: largest {over}",
            max(
                float(case.path.metrics[f"nc2_angle_{of}"][-1].max()) for case in data for of in ("classifier", "means")
            ),
            "<=",
            1e-2,
            "the geometry of the optimum, approached like a power of log t; at a block point the distance is 0.3 "
            "or more",
        ),
    ]
