"""Smoothed labels give every flow the same finite margin, which is smaller and is reached faster than without.

Hypotheses: cross-entropy with labels smoothed by α, K classes of n samples, d ≥ K. With decay, the mean loss ends at a
collapsed state of margin q = log[(1 − (K − 1)p)/p], p = α/K + c, c = √(nλ_Wλ_H), or at zero if Kc ≥ 1 − α. Without
decay all margins tend to log(1 + K(1 − α)/α) from every start, while W and H depend on it. The summed loss comes to a
balanced end exponentially fast: at the rate √n qα/K for K ≥ 3, that of differences within a class between wrong
classes, and at 2√n q P(1 − P)K/(K − 1), P = (K − 1)α/K, along the ray of collapsed states.
Source: smoothed labels: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
Vision", 2016; that their minima collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A Neural
Collapse Perspective", 2022. The closed form with decay and the rates are this project's.
Falsified by: another margin; an end that depends on the start; another rate. Run with the zero claimed for Kc ≥ 1 as
for plain labels, with α in place of α/K, and with the rate √n qα.
Not verified: how the mean rate of a random start is made up of the rates of all modes.
"""

from theory_experiments.theorems.label_smoothing.claims import check
from theory_experiments.theorems.label_smoothing.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.label_smoothing.figure import plot
from theory_experiments.theorems.label_smoothing.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Label smoothing"

EXPLANATION = """
Left: the margin at the end against the strength of the decay. Lines are the closed form, marks the ends of flows.
Smoothed labels bound the margin where the decay is small, and they need less decay for the zero: Kc ≥ 1 − α.

Middle: without decay, the way to the end from starts that are moved along the slowest mode, for n = 3 and d = 6. The
slopes of the dashed lines are √n qα/K for the collapsed simplex, and the smallest eigenvalue of the Hessian at the end
of a random start.

*Why.* Write R for the residual. Near the end, Z moves by R HᵀH + W Wᵀ R. If R has mean 0 in each class, only the second
term is left, with W Wᵀ = √n q(I − 11ᵀ/K). So a column of R decays with √n q times an eigenvalue of diag(p) − ppᵀ, where
p is the smoothed label. The smallest of these is α/K, of differences between wrong classes. Residuals that are equal
within a class feel both terms and decay faster. On the ray both terms are equal, and the eigenvalue is P(1 − P)K/(K −
1).

Right: equal decay, with plain labels and with smoothed ones, from the same collapsed start. With smoothed labels the
margin is smaller and is reached earlier, since P(1 − P), the curvature of the loss, is larger at a smaller margin.
"""
