"""Once L < log 2, the smoothed margin never decreases, L → 0, ρ → ∞, and every limit of the direction is a KKT point.

Hypotheses: gradient flow without weight decay, and a time with L < log 2, so that all samples are classified correctly.
Any class counts, any dimension. The smoothed margin is −log(e^L − 1)/ρ². The margin problem is
min ½(‖W‖² + ‖H‖²) subject to q_{ij} ≥ 1. The multipliers of a point are its probabilities p_{ij}, scaled.
Source: Theorem 3.2 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
whose exact hypotheses we do not know; Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks",
2020.
Negative controls: a smoothed margin that falls, or a loss that does not tend to 0, would refute the theorem. The margin
must fall with ρ⁴ in place of ρ², and before L < log 2. The loss must stay positive with weight decay, and with
one-dimensional features, which cannot separate the classes.
Not verified: that the direction converges. The theorem does not say so either. The limit may be a KKT point that is not
optimal; other pages treat these.
"""

from theory_experiments.theorems.implicit_bias.claims import check
from theory_experiments.theorems.implicit_bias.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.implicit_bias.figure import plot
from theory_experiments.theorems.implicit_bias.measurement import simulate

__all__ = [
    "EXPLANATION",
    "FULL",
    "LEARNT",
    "NEGATIVE_CONTROLS",
    "QUICK",
    "TITLE",
    "Config",
    "check",
    "plot",
    "simulate",
]

TITLE = "Implicit bias"

LEARNT = (
    "Every run reached L < log 2; from then on its smoothed margin never fell by more than the tolerance, and both "
    "KKT residuals stayed below bounds that tend to 0."
)

EXPLANATION = """
**Left.** The curves start at the first record with L < log 2. From there the smoothed margin only grows, for every
start, for balanced and for unequal counts, and also for d < K − 1. We divide it by its value at the end, since for d
< K − 1 no closed form of the optimum is known.

**Middle and right.** Scale the state so that its smallest margin is 1. Then it is an approximate KKT point, and both
residuals tend to 0.

*Stationarity* is the part of (W, H) that is not a combination of margin gradients. It decays like (log t)^(−1/2), the
inverse of the norm, because parts of the start never move. These parts are the components of the features orthogonal to
the classifier, and the sum of the classifier's rows. So the bound is ρ(0)/ρ.

*Complementary slackness* says that only the smallest margins have multipliers. The bound is the argument of Lyu and
Li. It needs only x·e^(−x) ≤ 1/e. For unequal counts it has the right power, 1/log t: there the multipliers of the limit
differ, so the margins differ by the logarithms of their ratios. For balanced counts all multipliers are equal in the
limit, and the slackness falls much faster.

These claims do not say which KKT point the flow approaches. For generic starts with d ≥ K it is the optimum: see the
pages on the landscape, on escape and on rates.
"""
