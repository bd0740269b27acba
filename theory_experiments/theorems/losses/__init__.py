"""Cross-entropy and focal loss collapse without end, at rates set by their tails; smoothed labels and squares stop.

Hypotheses: the summed loss of K classes of n samples, d ≥ K, no weight decay. Cross-entropy and focal loss of exponent
γ fall like e^(−κq) with the margin q, κ = 1 + γ. Then every flow collapses to a simplex, L·t·log t → v*/(2κ) and
ρ²/log t → 2v*/κ with v* = (K − 1)√n. Cross-entropy with labels smoothed by α has its minimum at the margin
log(1 + K(1 − α)/α), and squared error at W H = Y. Their flows reach the minimum exponentially fast. The conserved
quantities keep the frames of W and of the class means away from the ideal ones by at most the size of the start,
ρ(0)²/ρ².
Source: for focal loss Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", 2017. For smoothed
labels Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2016. That
all these losses collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A Neural Collapse
Perspective", 2022. The constants of L and ρ² for a tail e^(−κq) are this project's.
Negative controls: three things would refute the claim: other constants for κ, another end of smoothed labels or squared
error, and a distance from the end that falls like a power of t. We claim κ = 1 for focal loss, K√n for v*, the margin
log(1 + (1 − α)/α), a simplex as the end of squared error, and a power of t in place of the exponential.
Not verified: that the flow of focal loss collapses from every start; 32 random ones did. Focal loss is not convex in
the logits, so no certificate bounds its optimum.
"""

from theory_experiments.theorems.losses.claims import check
from theory_experiments.theorems.losses.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.losses.figure import plot
from theory_experiments.theorems.losses.measurement import simulate

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

TITLE = "Losses"

LEARNT = (
    "Focal loss collapses to the same simplex as cross-entropy, with the constants that its tail exponent κ = 1 + "
    "γ predicts; with smoothed labels or squared error the flow converges exponentially fast to a finite end."
)

EXPLANATION = """
**Left and middle.** The panels show the loss and the norm divided by their predictions, for losses whose tail falls
like e^(−κq). Nothing is fitted. With κ = 1 + γ focal loss needs a smaller margin for the same slope, so its norm
grows more slowly. The direction at the end is the same simplex. The next terms are of order log log t/log t, so the
curves need very long times.

**Right.** Two losses have their minimum at finite logits. The logits approach it exponentially fast: their distance
is a straight line against t itself, and after t = 100 nothing changes. W and H stop where the logits are right. The
flow then still remembers its start: WᵀW − HHᵀ, the mean row of the classifier and the feature parts without force
have not changed. So the frames are exact only in the limit of small starts. The losses on the left forget any start
as ρ grows.
"""
