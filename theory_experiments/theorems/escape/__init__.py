"""A flow that starts ε away from a block point leaves it along the witness, at log t ∝ ε^(−2(K − b)/b), and collapses.

Hypotheses: K = m·b classes of n samples in m blocks of b (see suboptimal_kkt_points), d ≥ K, a large norm. The start is
    perturbed by a relative size ε along the witness (u aᵀ, a vᵀ)/√2. Here u, v are top singular vectors of the residual
    R, and a is a direction that the block point does not use. Other noise may be added.
Source: that better points lie close by: Example 3.1 and Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
    Layer-Peeled Perspective on Neural Collapse", 2022. The rate is this project's. In rescaled time, ds = L dt, the
    component along the witness grows relative to ρ like e^{(‖R‖_op − μ)s/L}. At large norm this is
    e^{b s/(K√n (K − b))}, and log t grows like e^{2s/(K√n)}.
Negative controls: four things would refute the claim: another growth rate, another slope of the exit in s against
    log(1/ε) than K√n (K − b)/b, another exponent, and a start that stays or ends elsewhere. We claim the rate ‖R‖_op/L,
    without the growth of ρ, and we start without any component along the witness.
Not verified: ε below 1e-3. There the exit comes later than double precision can follow the logits (log t ≈ 1e8).
"""

from theory_experiments.theorems.escape.claims import check
from theory_experiments.theorems.escape.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.escape.figure import plot
from theory_experiments.theorems.escape.measurement import simulate

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

TITLE = "Escape"

LEARNT = (
    "All 64 flows that started near block points left them, at a log t that grows like the predicted power of 1/ε, "
    "and came within 0.1% of the value of neural collapse."
)

EXPLANATION = """
A block point is a KKT point of the margin problem, so a flow that starts there stays there. It is also a saddle. Take a
direction a of feature space that it does not use. Move the classifiers and features of some blocks along a, and those
of the others against a. Then the loss falls to second order. This perturbation is the witness.

How long does the fall take? In rescaled time s the flow follows the gradient of log L, and everything is exponential.
The component along the witness grows at the rate ‖R‖_op/L. The norm grows at the smaller rate μ/L. Their ratio grows
at the difference, b/(K√n (K − b)) at large norm. From ε to a value of order one it takes s = K√n (K − b)/b · log(1/ε)
(**middle**). But s is a very slow clock: log t grows like the square of the norm, e^{2s/(K√n)}. So log t at the exit is
proportional to ε^{−2(K − b)/b} (**right**). For ε = 10⁻³, K = 4 and b = 2 the flow leaves not at t = 10⁶ but at log t
of that order.

**Left.** The values of some flows stay on a long plateau at K√n, the value of the block point. Then they fall to
(K − 1)√n, the value of neural collapse. A simulation that stops at t = 10¹⁰ would take each of these plateaus for the
end.
"""
