"""With smoothed labels every flow ends at the same finite margin, which is smaller and is reached faster than without.

Hypotheses: cross-entropy with labels smoothed by α, K classes of n samples, d ≥ K. With decay, the flow of the mean
loss ends at a collapsed state of margin q = log[(1 − (K − 1)p)/p], p = α/K + c, c = √(nλ_Wλ_H), or at zero if Kc ≥ 1
− α. Without decay all margins tend to log(1 + K(1 − α)/α) from every start, while W and H depend on the start. The
flow of the summed loss approaches a balanced end exponentially fast. The rate is √n qα/K for K ≥ 3, for differences
between wrong classes within a class. It is 2√n q P(1 − P)K/(K − 1), P = (K − 1)α/K, along the ray of collapsed states.
Source: for smoothed labels Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for
Computer Vision", 2016. That their minima collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A
Neural Collapse Perspective", 2022. The closed form with decay and the rates are this project's.
Negative controls: another margin, margins that depend on the start, or another rate would refute the claim. We claim
the condition for zero of plain labels, Kc ≥ 1. We claim α in place of α/K. And we claim the rate √n qα.
Not verified: how the rates of all modes combine in the mean rate of a random start.
"""

from theory_experiments.theorems.label_smoothing.claims import check
from theory_experiments.theorems.label_smoothing.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.label_smoothing.figure import plot
from theory_experiments.theorems.label_smoothing.measurement import simulate

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

TITLE = "Label smoothing"

LEARNT = (
    "All 672 flows with smoothed labels converged; with equal decay, smoothed labels gave at most 0.69 times the "
    "margin of plain labels, reached more than four times as fast."
)

EXPLANATION = """
**Left.** The panel shows the margin at the end against the strength of the decay. Lines are the closed form, marks
are the ends of flows. Smoothed labels bound the margin where the decay is small. And they need less decay to end at
zero: Kc ≥ 1 − α.

**Middle.** Without decay, the approach to the end from starts that are moved along the slowest mode, for n = 3 and d
= 6. The slopes of the dashed lines are √n qα/K for the collapsed simplex, and the smallest eigenvalue of the Hessian at
the end of a random start.

*Why?* Write R for the residual. Near the end, Z moves by R HᵀH + W Wᵀ R. If R has mean 0 in each class, only the second
term remains, with W Wᵀ = √n q(I − 11ᵀ/K). So a column of R decays with √n q times an eigenvalue of diag(p) − ppᵀ, where
p is the smoothed label. The smallest eigenvalue is α/K, for differences between wrong classes. Residuals that are equal
within a class feel both terms and decay faster. On the ray both terms are equal, and the eigenvalue is
P(1 − P)K/(K − 1).

**Right.** Equal decay, with plain and with smoothed labels, from the same collapsed start. With smoothed labels the
margin is smaller and is reached earlier: P(1 − P), the curvature of the loss, is larger at a smaller margin.
"""
