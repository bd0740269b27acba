"""The gradient flow conserves WᵀW − HHᵀ and Σ_k w_k, for any class counts and any dimension.

Hypotheses: gradient flow dW/dt = R Hᵀ, dH/dt = Wᵀ R with R = Y − P, from any start; any K, n_k and d; no weight decay.
The proof takes one line: d(WᵀW)/dt = H Rᵀ W + Wᵀ R Hᵀ = d(HHᵀ)/dt. And 1ᵀR = 0, as the probabilities of a sample sum to
1. Gradient descent conserves Σ_k w_k too, with or without momentum.
Source: for the balancedness of linear networks Arora, Cohen, Hazan, "On the Optimization of Deep Networks: Implicit
Acceleration by Overparameterization", 2018. For the model (2.3) of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
Layer-Peeled Perspective on Neural Collapse", 2022.
Negative controls: a drift that does not shrink with the tolerance would refute the theorem. We add weight decay λ,
which multiplies the first quantity by e^(−2λt) and the second by e^(−λt). And we replace the flow by Euler's method
with a coarse step, which conserves only the second.
Not verified: larger problems than those listed, and stochastic or adaptive optimisers.
"""

from theory_experiments.theorems.conserved_quantities.claims import check
from theory_experiments.theorems.conserved_quantities.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.conserved_quantities.figure import plot
from theory_experiments.theorems.conserved_quantities.measurement import simulate

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

TITLE = "Conserved quantities"

LEARNT = (
    "Without weight decay neither quantity changes up to t = 10^10000, beyond the errors of the solver; with "
    "weight decay both decay exponentially, at the predicted rates."
)

EXPLANATION = """
**Left and middle.** The panels show how far each conserved quantity has moved, relative to ρ² and to ρ. There are three
problems: balanced classes, unequal counts, and a dimension too small for neural collapse. The drift of WᵀW − HHᵀ is the
error of the integrator. It stays below the bound and shrinks with the tolerance. The drift of Σ w_k is rounding: this
quantity is linear, and every step adds a multiple of a field whose rows sum to zero.

**Right.** Here the classical Runge–Kutta method integrates the same problem. It shares no code with the solver. Without
weight decay nothing moves on this scale. With weight decay both quantities decay at the predicted rates (dashed). So
networks that are trained with weight decay forget the imbalance between their layers. The exponents on the other pages
come from these conserved quantities. So those exponents do not carry over to training with weight decay.
"""
