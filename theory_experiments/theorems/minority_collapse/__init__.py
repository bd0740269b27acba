"""Where norms are bounded or paid for, the classifiers of rare classes merge at a finite imbalance; the ULPM's do not.

Hypotheses: K = K_A + K_B classes, K_A of n_A and K_B of n_B samples, R = n_A/n_B, d ≥ K − 1. Three models: (a) mean
cross-entropy with (1/K) Σ ‖w_k‖² ≤ E_W and (1/K) Σ_k (1/n_k) Σ_i ‖h_{k,i}‖² ≤ E_H; (b) mean cross-entropy
+ (λ_W/2)‖W‖² + (λ_H/2)‖H‖²; (c) the margin problem of the unconstrained model. (a) and (b) are cross-entropy with a
budget or a price on the nuclear norm of the logits, weighted by √n_k in (b). Rare classes merge exactly when the most
that one of them can save by a direction of its own does not exceed the price ν of the norm: n_B/N ≤ ν in (a), where ν
is the multiplier of the budget, and √n_B/N ≤ ν = √(λ_W λ_H) in (b), that is for
R ≥ R₀ = (1/(ν√n_B) − K_B)/K_A. In (c) no norm is paid for, every margin is 1, and
cos = (τ − 1/K_B)/(τ + 1 − 1/K_B) < 1 at every R, with τ = (K_A/(K K_B)) √((K_B R + K_A)/K).
Source: Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model: Minority collapse in imbalanced
training", 2021, for (a); Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021, for (b); Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting
Neural-Collapse Geometry", 2022, for (c). The two criteria and the cosine in (c) follow from the symmetry among equal
classes.
Falsified by: minority cosines below 1 beyond the threshold or at 1 before it, or a random start that ends below the
value of the relaxation. Run with a wrong threshold, with the cosine −1/(K_B − 1) claimed at R = 1, with model (c) for
(a), and with fewer features than the optimum's rank, where descent cannot reach the value.
Not verified: other numbers of classes and energies than those listed, a bias, and whether networks follow.
"""

from theory_experiments.theorems.minority_collapse.claims import check
from theory_experiments.theorems.minority_collapse.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.minority_collapse.figure import plot
from theory_experiments.theorems.minority_collapse.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Minority collapse"

EXPLANATION = """
Left: the cosine between the classifiers of two rare classes. With equal counts all three models collapse to a simplex
and the cosine is −1/(K−1). As the imbalance R grows, models (a) and (b), which have to economise on norm, turn the rare
classifiers towards each other, and at a finite R (dotted) these become *one* direction: the rare classes are no longer
told apart at all. The margin problem, where the flow without weight decay ends, must keep every margin at 1. Its rare
classifiers also turn towards each other (1 − cos falls like 1/√R), simply because they share the large component that
tells rare from frequent, but at every R their cosine is below 1, the closed form says which (dashed), and the rare
classes stay separated.

Middle: why there is a threshold. A direction of its own for a rare class costs norm, at the price ν a unit, and it
saves at most its share of the gradient, n_B/N in (a) and √n_B/N in (b), where features are counted once a sample. Where
the saving is below the price (ratio below 1, dashed) the direction is not worth having, and its singular value is
exactly 0. In (b) the price is given, so that the threshold is known in closed form; in (a) it is a result of the
optimisation.

Right: descent over all of W and every single feature, from random starts, against the value of the convex relaxation.
It ends at that value from every start, up to rounding: the relaxation is tight, and no start is trapped.
"""
