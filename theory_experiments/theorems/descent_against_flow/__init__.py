"""Gradient descent follows the flow to first order in its rate, and for ever; a loss-scaled rate only up to a norm.

Hypotheses: flow time advances by η/(1−β) a step with rate η and momentum β, by η/(L(1−β)) if the rate is η/L; η below
the limit of stability at the start. The loss-scaled rate is stable while η·λ ≤ 2, where λ is the largest eigenvalue of
∇² log L, at collapse λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²).
Source: Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, for the loss-scaled rate;
Polyak, "Some Methods of Speeding up the Convergence of Iteration Methods", 1964, for momentum; the eigenvalue is this
project's.
Falsified by: a distance that is not proportional to the rate, as when a step with momentum is counted as η of time, or
the rate is too large; a loss-scaled run that departs from the flow elsewhere than at the predicted norm.
Not verified: stochastic gradients, and what a loss-scaled run does after its departure.
"""

from theory_experiments.theorems.descent_against_flow.claims import check
from theory_experiments.theorems.descent_against_flow.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.descent_against_flow.figure import plot
from theory_experiments.theorems.descent_against_flow.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Descent against flow"

EXPLANATION = """
Left: how far descent is from the flow when both have reached the same flow time. Halving the rate halves the distance
(dashed: slope 1), with momentum 0.3 as without, provided that a step counts as η/(1−β): a heavy ball in equilibrium
moves by the sum of the geometric series of its past pushes. The conserved quantity WᵀW − HHᵀ drifts in the same
proportion, while Σ_k w_k does not drift at all. Later times do not make it worse: the curvature of the loss falls like
1/t, so that the same rate becomes an ever finer step, and what was lost was lost at the start.

Right: the rate η/L keeps the steps of a run from dying, so that log log t grows in proportion to the number of steps.
It is Euler's method on ∇ log L, whose curvature *grows*, like ρ². Near collapse the largest eigenvalue of ∇² log L is
the variance of the margin gradients ∇q_{ij} over all N(K−1) margins. Its eigenvector raises the margins of some classes
and lowers those of others, and works out as λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²). Once ηλ > 2 (dashed lines), such a
pattern changes sign and grows with every step, and some steps later, when it has grown out of almost nothing, the run
leaves the flow: it keeps separating the classes, but its stationarity residual no longer falls. A loss-scaled rate
that follows for ever must itself fall like 1/ρ², that is, like 1/log t.
"""
