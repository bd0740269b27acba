"""Once L < log 2 the smoothed margin never decreases, L → 0, ρ → ∞, and the direction tends to KKT points.

Hypotheses: gradient flow without weight decay, and some time at which L < log 2, so that all samples are classified.
Any class counts, any dimension. The smoothed margin is −log(e^L − 1)/ρ², the margin problem
min ½(‖W‖² + ‖H‖²) subject to q_{ij} ≥ 1, and the multipliers of a point are its probabilities p_{ij}, scaled.
Source: Theorem 3.2 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
whose exact hypotheses are not known to us; Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural
Networks", 2020.
Falsified by: a smoothed margin that falls, as it does with ρ⁴ in place of ρ², or before L < log 2; a loss that stays,
as it does with weight decay, or where one-dimensional features cannot separate the classes.
Not verified: that the direction converges, which the theorem does not say either; the limit may be a KKT point that is
not optimal, about which other sections speak.
"""

from theory_experiments.theorems.implicit_bias.claims import check
from theory_experiments.theorems.implicit_bias.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.implicit_bias.figure import plot
from theory_experiments.theorems.implicit_bias.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Implicit bias"

EXPLANATION = """
Left: from the first record with L < log 2 on, the smoothed margin only grows, for every start, whether the classes are
balanced or not, and whether the features have room for a simplex or not. It is relative to its value at the end, since
for the narrow problem the optimum is not known in closed form.

Middle and right: scaled to smallest margin 1, the point is an approximate KKT point, and both residuals vanish.
Stationarity is the part of (W, H) that is not a combination of margin gradients. It decays like (log t)^(−1/2), as
slowly as the norm grows, because some of the start never moves: feature parts orthogonal to the classifier, and the sum
of its rows. That is why the bound is simply ρ(0)/ρ. Complementary slackness says that multipliers sit on the smallest
margins. The bound, which is Lyu and Li's argument, needs nothing but x·e^(−x) ≤ 1/e. For unequal counts it has the
right power, 1/log t, because the multipliers of the limit differ and margins then differ by the logarithms of their
ratios. For balanced counts all multipliers are equal in the limit, and slackness falls much faster.

Nothing here says which KKT point is approached: that the optimum is, for generic starts with d ≥ K, is what the
sections on the landscape, on escape and on rates are about.
"""
