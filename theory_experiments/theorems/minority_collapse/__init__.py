"""With bounded or penalised norms, classifiers of rare classes merge at a finite imbalance; otherwise never.

Hypotheses: K = K_A + K_B classes, K_A of n_A and K_B of n_B samples, R = n_A/n_B, d ≥ K − 1. Three models: (a) mean
cross-entropy with (1/K) Σ ‖w_k‖² ≤ E_W and (1/K) Σ_k (1/n_k) Σ_i ‖h_{k,i}‖² ≤ E_H; (b) mean cross-entropy
+ (λ_W/2)‖W‖² + (λ_H/2)‖H‖²; (c) the margin problem of the unconstrained model. (a) and (b) are cross-entropy with a
budget or a price on the nuclear norm of the logits, weighted by √n_k in (b). Compare the most that a rare class can
save by a direction of its own with the price ν of the norm. Rare classes merge exactly if the saving does not exceed
the price: n_B/N ≤ ν in (a), where ν is the multiplier of the budget, and √n_B/N ≤ ν = √(λ_W λ_H) in (b), that is for
R ≥ R₀ = (1/(ν√n_B) − K_B)/K_A. In (c) norm has no price, every margin is 1, and
cos = (τ − 1/K_B)/(τ + 1 − 1/K_B) < 1 at every R, with τ = (K_A/(K K_B)) √((K_B R + K_A)/K).
Source: Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model: Minority collapse in imbalanced
training", 2021, for (a); Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021, for (b); Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting
Neural-Collapse Geometry", 2022, for (c). The two criteria and the cosine in (c) follow from the symmetry among equal
classes.
Negative controls: three things would refute the claim: minority cosines below 1 beyond the threshold, cosines of 1
before it, and a random start that ends below the value of the relaxation. We claim a wrong threshold, and the cosine
−1/(K_B − 1) at R = 1. We take model (c) for (a). And we take d below the optimum's rank, where descent cannot reach the
value.
Not verified: other numbers of classes and energies than those listed, a bias, and whether networks behave like this.
"""

from theory_experiments.theorems.minority_collapse.claims import check
from theory_experiments.theorems.minority_collapse.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.minority_collapse.figure import plot
from theory_experiments.theorems.minority_collapse.measurement import simulate

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

TITLE = "Minority collapse"

LEARNT = (
    "With bounded or penalised norms the rare classes merge exactly beyond the predicted imbalance; in the margin "
    "problem their cosine stays below 0.68 up to R = 1000."
)

EXPLANATION = """
**Left.** The panel shows the cosine between the classifiers of two rare classes. With equal counts all three models
collapse to a simplex, and the cosine is −1/(K−1). Models (a) and (b) have to economise on norm. As the imbalance R
grows, they rotate the rare classifiers towards each other. At a finite R (dotted) these become *one* direction: the
model no longer distinguishes the rare classes. The margin problem is the end of the flow without weight decay. It
must keep every margin at 1. Its rare classifiers also rotate towards each other (1 − cos falls like 1/√R), because
they share the large component that separates rare from frequent classes. But their cosine is below 1 at every R, as
the closed form says (dashed), and the rare classes stay separated.

**Middle.** Why is there a threshold? A direction of its own for a rare class costs norm, at the price ν a unit. It
saves at most the share of the class in the gradient. This is n_B/N in (a) and √n_B/N in (b), where each sample's
feature counts. If the saving is below the price (ratio below 1, dashed), the direction does not pay, and its singular
value is exactly 0. In (b) the price is given, so the threshold has a closed form. In (a) it is a result of the
optimisation.

**Right.** Descent over all of W and every single feature, from random starts, compared with the value of the convex
relaxation. From every start it ends at that value, up to rounding. So the relaxation is tight, and no start is trapped.
"""
