"""One line, Kc = 1 with c = √(nλ_Wλ_H), decides whether weight decay leaves a collapsed classifier or zero.

Hypotheses: the mean cross-entropy + ½λ_W‖W‖² + ½λ_H‖H‖² of K classes of n samples, d ≥ K. The logits depend only on the
product λ_Wλ_H: the margin at the end is q = log[(1 − (K − 1)c)/c] for Kc < 1, else 0.
Source: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with unconstrained features",
2021.
Negative controls: a flow that ends on the other side of the line, or at another margin, would refute the claim. We
claim the line K√(λ_Wλ_H) = 1, without n, and the line 2Kc = 1.
Not verified: points on the line itself.
"""

from theory_experiments.theorems.phase_diagram.claims import check
from theory_experiments.theorems.phase_diagram.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.phase_diagram.figure import plot
from theory_experiments.theorems.phase_diagram.measurement import simulate

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

TITLE = "Phase diagram of weight decay"

LEARNT = (
    "At all 70 points of the diagram the flow ended on the predicted side of Kc = 1, with the margin of the closed "
    "form."
)

EXPLANATION = """
The colour is the margin of the closed form, white where it is zero. The dashed line is Kc = 1, that is
λ_Wλ_H = 1/(nK²). Marks are the ends of flows: discs in the colour of their own margin, and crosses for zero. If a
disc has the colour around it, its flow has the margin of the closed form.

With more classes or more samples in each class, less decay is enough to end at zero, because the loss is a mean. A
class can gain at most √n/N = 1/(K√n) for a unit of norm by a direction of its own. The price is √(λ_Wλ_H).
"""
