"""With d ≥ K, a critical point of the loss on a sphere is a global minimiser or a strict saddle: no other minima.

Hypotheses: the sphere ‖W‖² + ‖H‖² = ρ², d ≥ K, and a multiplier μ = −⟨∇L, Θ⟩/ρ² other than 0. Then a direction of R^d
    is orthogonal to all w_k and h_i, the least curvature is μ − ‖R‖_op, and ‖R‖_op ≤ μ proves a global minimum.
Source: Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
    whose exact hypotheses are not known to us; for the free direction Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A Geometric
    Analysis of Neural Collapse with Unconstrained Features", 2021.
Falsified by: a critical point with d ≥ K at which the loss neither falls to second order nor is proven least. Variants
    that must fail: d = 2 for four classes, a curvature of μ − ½‖R‖_op, points that are not critical.
Not verified: that all critical points were found; each start finds one. At d = K − 1 only points of rank K − 1 escape
    the argument, and none was met that is neither; what holds at d < K is counted in the figure and claimed nowhere.
"""

from theory_experiments.theorems.benign_landscape.claims import check
from theory_experiments.theorems.benign_landscape.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.benign_landscape.figure import plot
from theory_experiments.theorems.benign_landscape.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Benign landscape"

EXPLANATION = """
On a sphere, the loss has many critical points: wherever gradient and position are parallel, ∇L = −μΘ. Gradient descent
could end at any of them that is a local minimum. The theorem says that with at least as many features as classes the
only local minima are global. Two numbers decide at each point, the multiplier μ and the operator norm of the softmax
residual R. If they are equal, the point solves a convex problem, in Z = WH, and is a global minimum; if ‖R‖_op is the
larger one, there is a direction of curvature μ − ‖R‖_op < 0, which mixes the top singular vectors of R with a direction
of feature space that the point does not use.

Points were found by minimising the tangential gradient, a search that is attracted by saddles as well as by minima. On
the left, the least eigenvalue of the Hessian, a dense matrix formed without any formula for it, lies on the line
μ − ‖R‖_op wherever d ≥ K and μ is not 0. (Points with μ = 0, at −1, need not lie on it, but all are saddles.) Below
that dimension, no direction may be free and the formula is a lower bound only: crosses above the line. On the right,
what the points are, by dimension. For four classes in d = 2 many are undetermined: the loss neither falls to second
order nor is it proven least, as it is for the others. What these are is the subject of narrow_features.
"""
