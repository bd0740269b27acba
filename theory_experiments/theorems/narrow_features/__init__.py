"""With fewer features than classes flows end at local minima of the margin problem, or are on their way from a saddle.

Hypotheses: K classes of one sample each, d ≤ K − 1, random starts, log t as far as the configuration says. Where a flow
    is late, the KKT point nearby is made exact and put to the second-order test (kkt_points): what is shown is the kind
    of that point, to rounding, and that no ending of the sizes tried is a local minimum other than the best one found.
Source: this project. Our argument for Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled
    Perspective on Neural Collapse", 2022 (see benign_landscape), needs a free direction, d ≥ K, and says nothing here.
    A saddle whose Lagrangian Hessian has the least eigenvalue −κ is left like (log t)^{κ/2}.
Falsified by: a proven local minimum of a value above the best one found; at d = K − 1, one above (K − 1)√n; a saddle
    that is left at another rate. Variants that must fail: an early end (log t = 10), at which nothing can be said; a
    rate of κ instead of κ/2.
Not verified: other sizes, and starts beyond those followed; that the best value found is the optimum for d < K − 1 (no
    proof is known); endings that the test leaves undecided or unresolved are counted, and count as neither.
"""

from theory_experiments.theorems.narrow_features.claims import check
from theory_experiments.theorems.narrow_features.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.narrow_features.figure import plot
from theory_experiments.theorems.narrow_features.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Narrow features"

EXPLANATION = """
The proof that every minimum is global uses a direction of feature space that a critical point leaves free, and there is
one if d ≥ K. With fewer features nothing is known. Flows from random starts seem to end at different values, some far
above others, and for a long time: are these local minima?

Mostly they are not. A state at log t = 10⁶ is so near a KKT point of the margin problem that Newton's method can make
the point exact, and then the second-order test applies: the Hessian of the Lagrangian on the directions that keep the
active margins, without rotations. Where it is positive, the point is a strict local minimum, and every one found has
the least value found for its size. Where it has a negative eigenvalue −κ the point is a saddle, and a flow is beside it
because it leaves it like (log t)^{κ/2}, which for κ = 0.3 means eightfold growth from log t = 10 to 10⁷. That law is
checked by a flow started beside the saddle. A flow near a minimum and one near a saddle cannot be told apart by looking
at them; the eigenvalue tells. Some flows with K = 6, d = 4 are undecided: still on their way between such points, or
beside one whose multipliers are not unique. (The figure counts all kinds.)

With d = K − 1 all proven minima are neural collapse. Below, the best values are K for K = 2d (the block point with
blocks of two, an orthoplex: a saddle where there is room for more dimensions, a strict minimum where there is not), and
shapes of their own otherwise. That they are global optima is not shown: the convex bound is K − 1, and is not attained.
"""
