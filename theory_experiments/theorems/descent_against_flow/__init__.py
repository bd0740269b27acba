"""Gradient descent follows the flow to first order in its rate at all times; with a rate η/L only up to a norm.

Hypotheses: flow time advances by η/(1−β) a step with rate η and momentum β, and by η/(L(1−β)) with the loss-scaled rate
η/L; η is below the limit of stability at the start. The loss-scaled rate is stable while η·λ ≤ 2. Here λ is the largest
eigenvalue of ∇² log L; at collapse λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²).
Source: for the loss-scaled rate Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020.
For momentum Polyak, "Some Methods of Speeding up the Convergence of Iteration Methods", 1964. The eigenvalue is this
project's.
Negative controls: a distance that is not proportional to the rate would refute the claim. So would a loss-scaled run
that departs from the flow elsewhere than at the predicted norm. We count a step with momentum as η of time, take a rate
beyond stability, and claim four times the norm.
Not verified: stochastic gradients, and loss-scaled runs after their departure.
"""

from theory_experiments.theorems.descent_against_flow.claims import check
from theory_experiments.theorems.descent_against_flow.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.descent_against_flow.figure import plot
from theory_experiments.theorems.descent_against_flow.measurement import simulate

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

TITLE = "Descent against flow"

LEARNT = (
    "The distance of gradient descent from the flow is proportional to its rate and does not grow from t = 3 to t "
    "= 100; with the rate η/L descent leaves the flow once ρ² exceeds the predicted limit of stability."
)

EXPLANATION = """
**Left.** The panel shows the distance of descent from the flow at equal flow time. Half the rate gives half the
distance (dashed: slope 1), without momentum and with momentum 0.3, if a step counts as η/(1−β). In equilibrium a
heavy ball moves by the sum of the geometric series of its past forces. The drift of the conserved WᵀW − HHᵀ is
proportional to the rate too, while Σ_k w_k does not drift at all. Later times do not increase the distance. The
curvature of the loss falls like 1/t, so the same rate becomes an ever finer step, and almost all of the error comes
from the start.

**Right.** With the rate η/L the steps of a run do not shrink, and log log t grows in proportion to the number of steps.
This is Euler's method on ∇ log L, whose curvature *grows*, like ρ². Near collapse the largest eigenvalue of ∇² log L is
the variance of the margin gradients ∇q_{ij} over all N(K−1) margins. Its eigenvector raises the margins of some classes
and lowers those of others, and its value is λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²). Once ηλ > 2 (dashed lines), such a
perturbation changes sign and grows with every step. It starts from almost nothing, so the run leaves the flow some
steps later. It still separates the classes, but its stationarity residual no longer falls. A loss-scaled rate that
follows the flow at all times must itself fall like 1/ρ², that is, like 1/log t.
"""
