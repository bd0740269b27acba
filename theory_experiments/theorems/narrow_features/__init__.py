"""With d < K, flows end at local minima of the margin problem, or are still near a saddle that they leave slowly.

Hypotheses: K classes of one sample each, d ≤ K − 1, random starts, and the end time of the configuration. If a flow is
    late, we make the KKT point nearby exact and apply the second-order test (kkt_points). This shows the kind of that
    point, up to rounding. It shows that no end of the sizes tried is a local minimum other than the best one found.
Source: this project. Our argument for Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled
    Perspective on Neural Collapse", 2022 (see benign_landscape), needs a free direction, d ≥ K, and says nothing here.
    A flow leaves a saddle whose Lagrangian Hessian has the least eigenvalue −κ like (log t)^{κ/2}.
Negative controls: three things would refute the claim: a proven local minimum with a value above the best one found;
for
    d = K − 1, one above (K − 1)√n; and a saddle that flows leave at another rate. We end the flow early (log t = 10),
    where nothing can be decided, and we claim the rate κ instead of κ/2.
Not verified: other sizes and other starts; that the best value found is the optimum for d < K − 1 (no proof is known).
    We count ends that the test leaves undecided or unresolved, but they belong to neither kind.
"""

from theory_experiments.theorems.narrow_features.claims import check
from theory_experiments.theorems.narrow_features.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.narrow_features.figure import plot
from theory_experiments.theorems.narrow_features.measurement import simulate

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

TITLE = "Flows with d < K"

LEARNT = (
    "Every local minimum proven for d < K has the best value found for its size; flows at higher values were near "
    "saddles or undecided."
)

EXPLANATION = """
The proof that every minimum is global uses a direction of feature space that a critical point leaves free. There is one
if d ≥ K. For smaller d nothing is known. Flows from random starts seem to end at different values, some far above
others, and for a long time. Are these local minima?

Mostly they are not. A state at log t = 10⁶ is very near a KKT point of the margin problem. Newton's method makes this
point exact, and then the second-order test applies. It uses the Hessian of the Lagrangian on the directions that keep
the active margins, without rotations. If this Hessian is positive, the point is a strict local minimum. Every one that
we found has the least value found for its size. If it has a negative eigenvalue −κ, the point is a saddle. A flow
leaves it like (log t)^{κ/2}. For κ = 0.3 this means eightfold growth from log t = 10 to 10⁷, so the flow is still
near it. We test this law by a flow that starts near the saddle. You cannot tell a flow near a minimum from one near a
saddle by its values; the eigenvalue decides. Some flows with K = 6, d = 4 are undecided. They are still between such
points, or near one whose multipliers are not unique. The figure counts all kinds.

With d = K − 1 all proven minima are neural collapse. For smaller d the best values are K if K = 2d. This is the block
point with blocks of two, an orthoplex. It is a saddle if there is room for more dimensions, and a strict minimum if
there is not. For other K and d the best points have shapes of their own. We do not show that they are global optima:
the convex bound is K − 1 and is not attained.
"""
