"""With unequal counts the flow ends at simplex-encoded labels: the logits of collapse, in another geometry.

Hypotheses: gradient flow without weight decay from random starts; K classes with any counts n_k; d ≥ K − 1. The
optimal class-mean logits of the margin problem are proportional to I − 11ᵀ/K whatever the counts, which is also what an
ETF has. W and H are not ETFs, though: W Wᵀ ∝ (Z diag(n_k) Zᵀ)^{1/2}. The value is v* = ‖(I − 11ᵀ/K) diag(√n_k)‖_*, and
ρ²/log t → 2v*, L·t·log t → v*/2. The logits' direction misses I − 11ᵀ/K by a constant over log t, nc1_pinv falls like
(log t)^{−2}, not (log t)^{−3} as with equal counts, and nc3_difference tends to a positive constant; theory predicts
all three constants (see theory_experiments/numerics/seli.py).
Source: the geometry: Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry",
2022; the flow: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022. The
constants and the exponent −2 are derived in theory_experiments/numerics/seli.py.
Falsified by: a start whose constants, exponent or Gram matrix are others. Run with an ETF claimed for W, with the
balanced constant (K − 1)√(N/K), with the balanced exponent −3, and with d = K − 2 features.
Not verified: more than two different counts, d = K − 1, where nothing is frozen, and that every start ends at the
optimum, of which the listed ones are a sample.
"""

from theory_experiments.theorems.imbalance.claims import check
from theory_experiments.theorems.imbalance.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.imbalance.figure import plot
from theory_experiments.theorems.imbalance.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Imbalance"

EXPLANATION = """
Above, left: how far the direction of the class-mean logits is from I − 11ᵀ/K, from random starts at 1:1, 1:10 and
1:100. It falls like 1/log t at last, onto the dashed lines, whose height is computed beforehand from the multipliers of
the margin problem: rare classes keep larger losses, hence the logits of rare and frequent classes differ by a constant,
log(λ*/v*), while their size grows like log t. At 1:1 there is no such difference, and the distance falls faster. The
larger the imbalance, the longer some starts take before they follow the line, as the bands show: a rare class
contributes little, and is learnt late. In the end all of them do.

Above, middle: within-class variability. With equal counts it falls like (log t)^{−3}, with unequal ones like
(log t)^{−2}, onto lines that are again computed: feature parts that the classifier does not see stay as they are, and
in the class means they are η/n_k with one vector η. With equal counts they are the same in all class means and cancel
in μ_k − μ_G; with unequal ones they do not, and the span of the class means leans out of that of the classifier, into
the directions in which single samples differ.

Above, right: self-duality. With equal counts W becomes parallel to the class means; with unequal ones the difference
tends to the constant of the SELI geometry (dashed), where rare classes have shorter classifiers and longer features.
The logits are those of an ETF all the same: an ETF is a statement about W and H, not about Z.

Below: the sharp constants with the value v* of the unequal counts. Both ratios approach 1 like 1/log t (dashed guide:
the size of the correction that the bounds of the claims allow, at 1:1). Right: v* by the convex relaxation against its
closed form, with the value (K − 1)√(N/K) of equal counts, which is larger, for comparison.
"""
