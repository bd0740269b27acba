"""With equal class counts, neural collapse is the global optimum of the margin problem, with value (K − 1)√n.

Hypotheses: K classes of n samples each. d ≥ K − 1 for the optimum itself; d ≥ K for the statement about flows, since at
    d = K − 1 a flow may take longer than any time reached here to leave a saddle (see narrow_features).
Source: Theorem 3.1 and Corollary 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural
    Collapse", 2022, for the optimum and its geometry; that a limit of the flow is a KKT point is Lyu and Li, "Gradient
    Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, and that it is this one is observed here.
Falsified by: a relaxation whose value is not (K − 1)√n or whose optimal factors are not collapsed; a record of a flow
    whose two bounds do not enclose (K − 1)√n; a start whose flow ends at another value. Variants that must fail: the
    constant K√n, fewer than K − 1 dimensions, unequal counts with the constant for equal ones.
Not verified: sizes beyond the grid. The flows are a sample of starts: none of them shows that all starts end here.
"""

from theory_experiments.theorems.global_minimisers.claims import check
from theory_experiments.theorems.global_minimisers.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.global_minimisers.figure import plot
from theory_experiments.theorems.global_minimisers.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Global minimisers"

EXPLANATION = """
A classifier and features that separate all classes with margin 1 must be large; the margin problem asks how small they
can be. Since ½(‖W‖² + ‖H‖²) is at least the nuclear norm of the logits Z = WH, with equality for balanced factors, the
problem relaxes to one that is convex in Z, and whose solution any solver finds. On the left, its value lies on
(K − 1)√n for every size tried. The duality gap, computed from the answer, proves that no smaller value exists, and
factors of the solution are a simplex equiangular tight frame: all metrics of neural collapse vanish.

On the right, flows from random starts. Every state that separates the classes gives an upper bound of the optimum,
‖WH‖_*/q_min, and every state a lower one, from the softmax residuals as dual variables. No record lets (K − 1)√n
escape, and as the flow goes on the two bounds close on it, about like 1/log t: the flow finds the global optimum of a
problem that is not convex, and brings its own proof along.

With d = K − 1 the optimum is the same, but flows are not claimed to have reached it by a given time: they may pass
saddles that they leave exceedingly slowly.
"""
