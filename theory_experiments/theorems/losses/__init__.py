"""Cross-entropy and focal loss collapse without end, as fast as their tails say; smoothed labels and squares soon stop.

Hypotheses: the summed loss of K classes of n samples, d ≥ K, no weight decay. Cross-entropy and focal loss of exponent
γ fall like e^(−κq) with the margin q, κ = 1 + γ: every flow collapses to a simplex, L·t·log t → v*/(2κ) and
ρ²/log t → 2v*/κ with v* = (K − 1)√n. Cross-entropy with labels smoothed by α has its least value at the margin
log(1 + K(1 − α)/α), and squared error at W H = Y: their flows reach it exponentially fast. What a flow conserves keeps
the frame of W and of the class means off its ideal by at most the size of the start, ρ(0)²/ρ².
Source: focal loss: Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", 2017; smoothed labels:
Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2016; all these
losses collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A Neural Collapse Perspective", 2022;
the constants of L and ρ² for a tail e^(−κq) are this project's.
Falsified by: other constants than those of κ; a margin of smoothed labels that grows without end, or another end; a
distance from the end that falls like a power of t. Run with κ = 1 for focal loss, with K√n for v*, with the margin
log(1 + (1 − α)/α), with a simplex as the end of squared error, and with a power of t in place of the exponential.
Not verified: that the flow of focal loss collapses from every start; 32 random ones did. Focal loss is not convex in
the logits, so that no certificate bounds its optimum.
"""

from theory_experiments.theorems.losses.claims import check
from theory_experiments.theorems.losses.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.losses.figure import plot
from theory_experiments.theorems.losses.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Losses"

EXPLANATION = """
Left and middle: the loss and the norm over what theory says of them, for losses whose tail falls like e^(−κq). Nothing
is fitted. With κ = 1 + γ focal loss needs a smaller margin for the same slope, so its norm grows more slowly; the
direction in the end is the same simplex. The next terms are of order log log t/log t, which is why the curves need such
times.

Right: two losses that have their least value at finite logits. The logits come to them exponentially fast, so that the
distance is a straight line in t itself, and after t = 100 nothing happens any more. W and H stop where the logits are
right. The flow has then not forgotten its start: WᵀW − HHᵀ, the mean row of the classifier and the feature parts that
feel no force are what they were. So the frames are exact only in the limit of small starts, while the losses on the
left forget any start as ρ grows.
"""
