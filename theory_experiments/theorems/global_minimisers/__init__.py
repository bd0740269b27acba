"""With equal class counts, neural collapse is the global optimum of the margin problem, with value (K − 1)√n.

Hypotheses: K classes of n samples each. d ≥ K − 1 for the optimum itself. d ≥ K for the statement about flows: at
    d = K − 1 a flow may need longer than any time reached here to leave a saddle (see narrow_features).
Source: Theorem 3.1 and Corollary 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural
    Collapse", 2022, for the optimum and its geometry. That a limit of the flow is a KKT point: Lyu, Li, "Gradient
    Descent Maximizes the Margin of Homogeneous Neural Networks", 2020. That it is this KKT point is observed here.
Negative controls: three things would refute the claim: another value of the relaxation, optimal factors that are not
    collapsed, and a record whose two bounds do not enclose (K − 1)√n. We claim the constant K√n, take d = K − 2, and
    take unequal counts with the constant for equal ones.
Not verified: sizes beyond the grid. The flows are a sample of starts and do not show that all starts end here.
"""

from theory_experiments.theorems.global_minimisers.claims import check
from theory_experiments.theorems.global_minimisers.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.global_minimisers.figure import plot
from theory_experiments.theorems.global_minimisers.measurement import simulate

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

TITLE = "Global minimisers"

LEARNT = (
    "For all 45 sizes tried, from 2 to 10 classes, the optimum is neural collapse with value (K − 1)√n, and all "
    "128 flows came within 0.1% of that value by log t = 10⁶."
)

EXPLANATION = """
A classifier and features that separate all classes with margin 1 must be large. The margin problem asks how small
they can be. ½(‖W‖² + ‖H‖²) is at least the nuclear norm of the logits Z = WH, with equality for balanced factors. So
the problem relaxes to a convex one in Z, which any solver solves.

**Left.** The value of the relaxation is (K − 1)√n for every size tried. The duality gap, computed from the answer,
proves that no smaller value exists. The factors of the solution form a simplex equiangular tight frame: all metrics
of neural collapse vanish.

**Right.** These are flows from random starts. Every state that separates the classes gives an upper bound of the
optimum, ‖WH‖_*/q_min. Every state gives a lower bound, with the softmax residuals as dual variables. (K − 1)√n lies
between the two bounds at every record. Both bounds approach it, about like 1/log t. So the flow finds the global
optimum of a non-convex problem, and its states prove this.

With d = K − 1 the optimum is the same. But we do not claim that flows have reached it by a given time: they may pass
near saddles, which they leave very slowly.
"""
