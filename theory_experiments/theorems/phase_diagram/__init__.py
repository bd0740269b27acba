"""Whether weight decay leaves a collapsed classifier or nothing is decided by one line: Kc = 1, c = √(nλ_Wλ_H).

Hypotheses: the mean cross-entropy + ½λ_W‖W‖² + ½λ_H‖H‖² of K classes of n samples, d ≥ K. Only the product λ_Wλ_H
counts for the logits: the margin at the end is q = log[(1 − (K − 1)c)/c] for Kc < 1, else 0.
Source: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with unconstrained features",
2021.
Falsified by: a flow that ends on the other side of the line, or at another margin. Run with the line K√(λ_Wλ_H) = 1,
without n, and with 2Kc = 1.
Not verified: points on the line itself.
"""

from theory_experiments.theorems.phase_diagram.claims import check
from theory_experiments.theorems.phase_diagram.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.phase_diagram.figure import plot
from theory_experiments.theorems.phase_diagram.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Phase diagram of weight decay"

EXPLANATION = """
Colour is the margin of the closed form, white where it is zero, and the dashed line is Kc = 1, that is
λ_Wλ_H = 1/(nK²). Marks are where flows ended: discs of the colour of their own margin, crosses where nothing is left. A
disc that has the colour around it has the margin of the closed form.

More classes or more samples of a class need less decay for the zero, because the loss is a mean: what a class can gain
by its own direction is √n/N = 1/(K√n) for a unit of norm, and this is compared with the price √(λ_Wλ_H).
"""
