"""With weight decay λ the flow follows the one without until log t ≈ log(1/λ); then it stops, collapsed or at zero.

Hypotheses: the mean cross-entropy + ½λ_W‖W‖² + ½λ_H‖H‖², d ≥ K. For equal counts the end is W = H = 0 if Kc ≥ 1 with
c = √(nλ_Wλ_H), else a collapsed state of margin q = log[(1 − (K − 1)c)/c]. On the ray of collapsed states with
λ_W = λ_H = λ, e^q = (1 − e^(−τ))/(λ√n) with τ = 2λ∫q dt. So the margin lags behind that of the flow without decay by
log[x/(1 − e^(−x))], x = 2λ(q − 1)t. As λ → 0 the direction of the end tends to the optimum of the margin problem
(SELI). Its distance times log(1/λ) tends to a constant, the same that the flow without decay has with log(1/L). Rare
classes merge exactly for R ≥ R₀ = (1/(ν√n_B) − K_B)/K_A, ν = √(λ_Wλ_H).
Source: for the end with equal counts Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021. For merging Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model:
Minority collapse in imbalanced training", 2021. For the geometry of small decay Thrampoulidis, Kini, Vakilian, Behnia,
"Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022. The lag and the constant are this project's.
Negative controls: four things would refute the claim: an end on the wrong side of Kc = 1 or with another margin,
another law of departure, another limit of the direction, and rare classes merged on the wrong side of R₀. We claim
c = √(λ_Wλ_H), departure at t ∝ λ^(−1/2), a simplex as the limit for unequal counts, and twice R₀.
Not verified: decays exactly at Kc = 1, where the end is zero and the flow approaches it like 1/t.
"""

from theory_experiments.theorems.weight_decay.claims import check
from theory_experiments.theorems.weight_decay.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.weight_decay.figure import plot
from theory_experiments.theorems.weight_decay.measurement import simulate

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

TITLE = "Weight decay"

LEARNT = (
    "All 576 flows with weight decay converged to the predicted end, and small decay stops the flow near log t = "
    "log(1/λ) on its way to the SELI geometry."
)

EXPLANATION = """
**Left.** The panel shows the margin from one collapsed start without decay (grey) and with several decays. Each flow
follows the grey curve until log t ≈ log(1/λ). Then it stops at the margin of the closed form (dashed). Up to that
time a network with small decay behaves like one without decay. So the model without decay describes it.

**Middle.** The time when the margin lags by log 2 behind the flow without decay. The law of the lag gives
x = 2λ(q − 1)t = 1.594, so t grows like 1/(λ log(1/λ)).

**Right.** With unequal counts the end is not a simplex. As λ → 0 its direction tends to that of the margin problem,
SELI, but only like 1/log(1/λ). The wrong probabilities of the end are Nλ times the multipliers λ* of the margin
problem. So its logits are log(1/(Nλ))·Z* minus log λ*. The flow without decay has the same expansion in log(1/L). So
decay stops the flow on its way to SELI, but hardly changes its direction.
"""
