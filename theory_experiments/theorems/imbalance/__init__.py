"""With unequal counts the flow ends at the SELI geometry: the logits of collapse, with other classifiers and features.

Hypotheses: gradient flow without weight decay from random starts; K classes with any counts n_k; d ≥ K − 1. SELI means
simplex-encoded labels. The optimal class-mean logits of the margin problem are proportional to I − 11ᵀ/K for any
counts, as for an ETF. But W and H are not ETFs: W Wᵀ ∝ (Z diag(n_k) Zᵀ)^{1/2}. The value is v* = ‖(I − 11ᵀ/K)
diag(√n_k)‖_*, and ρ²/log t → 2v*, L·t·log t → v*/2. The distance of the logits' direction from I − 11ᵀ/K falls like
1/log t. nc1_pinv falls like (log t)^{−2}, not (log t)^{−3} as with equal counts. nc3_difference tends to a positive
constant. Theory predicts all three constants (see theory_experiments/numerics/seli.py).
Source: for the geometry Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse
Geometry", 2022. For the flow Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse",
2022. The constants and the exponent −2 are derived in theory_experiments/numerics/seli.py.
Negative controls: a start with other constants, another exponent or another Gram matrix would refute the claim. We
claim an ETF for W, the balanced constant (K − 1)√(N/K), and the balanced exponent −3. And we take d = K − 2.
Not verified: more than two different counts, and d = K − 1, where nothing is frozen. That every start ends at the
optimum: the listed ones are a sample.
"""

from theory_experiments.theorems.imbalance.claims import check
from theory_experiments.theorems.imbalance.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.imbalance.figure import plot
from theory_experiments.theorems.imbalance.measurement import simulate

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

TITLE = "Imbalance"

LEARNT = (
    "At imbalances of 1:10 and 1:100 the logits still tend to those of a simplex, but W and H tend to the SELI "
    "geometry, and within-class variability falls like (log t)⁻² instead of (log t)⁻³."
)

EXPLANATION = """
**Above, left.** The panel shows the distance of the direction of the class-mean logits from I − 11ᵀ/K, from random
starts at 1:1, 1:10 and 1:100. Late in the flow it falls like 1/log t, along the dashed lines. Their height is computed
beforehand from the multipliers of the margin problem. Rare classes keep larger losses. So the logits of rare and
frequent classes differ by a constant, log(λ*/v*), while their size grows like log t. At 1:1 there is no such
difference, and the distance falls faster. For larger imbalance some starts need longer before they follow the line,
as the bands show: a rare class contributes little and is learnt late. In the end all starts follow it.

**Above, middle.** Within-class variability falls like (log t)^{−3} with equal counts and like (log t)^{−2} with unequal
ones, along lines that are again computed. Feature parts orthogonal to the classifier never change. In the class means
they are η/n_k, with one vector η. With equal counts they are the same in all class means and cancel in μ_k − μ_G. With
unequal counts they do not cancel. Then the span of the class means tilts out of that of the classifier, into directions
in which single samples differ.

**Above, right.** With equal counts W becomes parallel to the class means (self-duality). With unequal counts the
difference tends to the constant of the SELI geometry (dashed). There rare classes have shorter classifiers and longer
features. The logits are still those of an ETF: an ETF is a statement about W and H, not about Z.

**Below.** The first two panels show the sharp constants with the value v* of the unequal counts. Both ratios approach 1
like 1/log t. The dashed guide is the size of the correction that the bounds of the claims allow, at 1:1. The right
panel compares v* of the convex relaxation with its closed form. The value (K − 1)√(N/K) of equal counts is larger.
"""
