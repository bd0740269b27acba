"""A flow that starts ε away from a block point leaves it along the witness, at log t ∝ ε^(−2(K − b)/b), and collapses.

Hypotheses: K = m·b classes of n samples in m blocks of b (see suboptimal_kkt_points), d ≥ K, a large norm, and a
    perturbation of relative size ε along the witness (u aᵀ, a vᵀ)/√2, where u, v are top singular vectors of the
    residual R and a is a direction that the block point does not use; any other noise may be added.
Source: that better points lie close by: Example 3.1 and Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
    Layer-Peeled Perspective on Neural Collapse", 2022. The rate is this project's. In rescaled time, ds = L dt, the
    component along the witness grows relative to ρ like e^{(‖R‖_op − μ)s/L}, which at large norm is
    e^{b s/(K√n (K − b))}; and log t grows like e^{2s/(K√n)}.
Falsified by: another growth rate, another slope of the exit in s against log(1/ε) than K√n (K − b)/b, another exponent,
    a start that stays or ends elsewhere. Variants that must fail: the rate ‖R‖_op/L, in which the growth of ρ is
    forgotten; a start without any component along the witness.
Not verified: ε below 1e-3, where the exit is later than double precision follows logits (log t ≈ 1e8).
"""

from theory_experiments.theorems.escape.claims import check
from theory_experiments.theorems.escape.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.escape.figure import plot
from theory_experiments.theorems.escape.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Escape"

EXPLANATION = """
A block point is a KKT point of the margin problem, so that a flow that starts there stays. It is also a saddle: with a
direction a of feature space that it does not use, every class of some blocks can move along a and every class of the
others against it, classifier and features together, and the loss falls to second order. This is the witness.

How long does the fall take? In rescaled time s, in which the flow follows the gradient of log L, everything is
exponential. The component along the witness grows with rate ‖R‖_op/L, the norm itself with the smaller rate μ/L, and
the ratio of the two with the difference, b/(K√n (K − b)) at large norm. From ε to a value of order one takes
s = K√n (K − b)/b · log(1/ε) (middle). But s is a very slow clock: log t grows with the square of the norm, like
e^{2s/(K√n)}, hence log t at the exit is proportional to ε^{−2(K − b)/b} (right). A perturbation of one part in a
thousand is left behind not at t = 10⁶ but at a time whose logarithm is of that order. On the left, values of some
flows: a long plateau at the value K√n of the block point, then a fall to (K − 1)√n, the value of neural collapse.

A simulator that ends at t = 10¹⁰ would have taken all these plateaus for the end.
"""
