"""Along the gradient flow WᵀW − HHᵀ and Σ_k w_k never change, whatever the class counts and the dimension.

Hypotheses: gradient flow dW/dt = R Hᵀ, dH/dt = Wᵀ R with R = Y − P, from any start; any K, n_k and d; no weight decay.
The proof is a line: d(WᵀW)/dt = H Rᵀ W + Wᵀ R Hᵀ = d(HHᵀ)/dt, and 1ᵀR = 0 as the probabilities of a sample sum to 1.
The second also holds in discrete time, with momentum or without.
Source: the balancedness of linear networks: Arora, Cohen, Hazan, "On the Optimization of Deep Networks: Implicit
Acceleration by Overparameterization", 2018; the model: (2.3) of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
Layer-Peeled Perspective on Neural Collapse", 2022.
Falsified by: a drift that does not shrink with the tolerance. Weight decay λ multiplies the first quantity by e^(−2λt)
and the second by e^(−λt); Euler's method with a coarse step keeps the second alone.
Not verified: problems that are larger than those listed, and stochastic or adaptive optimisers.
"""

from theory_experiments.theorems.conserved_quantities.claims import check
from theory_experiments.theorems.conserved_quantities.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.conserved_quantities.figure import plot
from theory_experiments.theorems.conserved_quantities.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Conserved quantities"

EXPLANATION = """
Left and middle: how far each conserved quantity has moved, divided by the size of what it is made of, for a balanced
problem, for unequal counts, and for a dimension too small for neural collapse. The drift of WᵀW − HHᵀ is the error
of the integrator: it stays below the bound, and the claims say that it shrinks with the tolerance. That of Σ w_k is
rounding, because it is a linear quantity, and adding a multiple of a field that sums to zero cannot change it.

Right: the same problem integrated by the classical Runge–Kutta method, which shares no code with the solver. Without
weight decay nothing moves on this scale. With it, both quantities fade, at the rates that theory gives (dashed): this
is why networks that are trained with weight decay forget the imbalance between their layers, and why the laws in the
other sections, whose exponents come from what these quantities keep frozen, do not carry over to them.
"""
