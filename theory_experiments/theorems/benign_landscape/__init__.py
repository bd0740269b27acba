"""With d ≥ K, every critical point of the loss on a sphere is a global minimiser or a strict saddle.

Hypotheses: the sphere ‖W‖² + ‖H‖² = ρ², d ≥ K, and a multiplier μ = −⟨∇L, Θ⟩/ρ² other than 0. Then a direction of R^d
    is orthogonal to all w_k and h_i, the least curvature is μ − ‖R‖_op, and ‖R‖_op ≤ μ proves a global minimum.
Source: Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
    whose exact hypotheses we do not know. For the free direction Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A Geometric
    Analysis of Neural Collapse with Unconstrained Features", 2021.
Negative controls: a critical point with d ≥ K that is neither proven a global minimum nor a strict saddle would refute
    the claim. We take d = 2 for four classes, claim a curvature of μ − ½‖R‖_op, and take points that are not critical.
Not verified: that all critical points were found; each start finds one. At d = K − 1 the argument does not cover points
    of rank K − 1, though we found none of a third kind. For d < K the figure counts the kinds, and we claim nothing.
"""

from theory_experiments.theorems.benign_landscape.claims import check
from theory_experiments.theorems.benign_landscape.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.benign_landscape.figure import plot
from theory_experiments.theorems.benign_landscape.measurement import simulate

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

TITLE = "Benign landscape"

LEARNT = (
    "With d ≥ K, all 45 block points tested and all 311 critical points found were global minima or strict "
    "saddles, with the predicted least curvature."
)

EXPLANATION = """
On a sphere the loss has many critical points: all points where gradient and position are parallel, ∇L = −μΘ. Gradient
descent could end at any of them that is a local minimum. The theorem says that with d ≥ K the only local minima are
global. Two numbers decide at each point: the multiplier μ and the operator norm of the softmax residual R. If they are
equal, the point solves a convex problem in Z = WH and is a global minimum. If ‖R‖_op is larger, there is a direction of
curvature μ − ‖R‖_op < 0. It combines the top singular vectors of R with a direction of feature space that the point
does not use.

We find points by minimising the tangential gradient. This search is attracted by saddles as well as by minima.

**Left.** The least eigenvalue of the Hessian lies on the line μ − ‖R‖_op wherever d ≥ K and μ is not 0. The Hessian
is a dense matrix, computed without this formula. Points with μ = 0, at −1, need not lie on the line, but all of them
are saddles. For d < K there may be no free direction, and the formula is only a lower bound: these crosses lie above
the line.

**Right.** The kinds of the points, by dimension. For four classes in d = 2 many are undetermined: the loss has no
descent direction to second order, and no proof shows that it is least. The page [d < K](narrow_features.md) treats
these.
"""
