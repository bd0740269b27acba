"""A margin problem has KKT points that are not optimal: classes in blocks, of value Σ √n_k whatever the partition.

Hypotheses: the K classes are split into m ≥ 2 blocks of b_k ≥ 2 classes with equal counts within a block; d ≥ K − m.
    Each block is a simplex frame of its own, orthogonal to the others: w_k = s_k n_k^{1/4} a_k,
    h_{k,i} = s_k n_k^{−1/4} a_k with a_k the rows of I_b − 11ᵀ/b and s_k² = b_k/(b_k − 1). Where all b and all n are
    equal (then the value is K√n, against (K − 1)√n), the point is critical for the loss at every norm, and the flow is
    started there.
Source: that such points exist: Example 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on
    Neural Collapse", 2022; the numbers of that example are not known to us. The block points are this project's; their
    multipliers are λ_{ij} = 1/((K − b_{y_i})√n_{y_i}) between blocks and 0 within.
Falsified by: a KKT residual above rounding; a value other than Σ √n_k; a flow that moves away by more than amplified
    rounding. Variants that must fail: a perturbed block point, blocks of unequal size without the factors s_k.
Not verified: that these are all KKT points that are not optimal (they are not, see narrow_features).
"""

from theory_experiments.theorems.suboptimal_kkt_points.claims import check
from theory_experiments.theorems.suboptimal_kkt_points.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.suboptimal_kkt_points.figure import plot
from theory_experiments.theorems.suboptimal_kkt_points.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Suboptimal KKT points"

EXPLANATION = """
The flow can only end at points that satisfy the Karush–Kuhn–Tucker (KKT) conditions of the margin problem. Were the
global optimum the only such point, nothing would be left to prove; it is not. Split the classes into blocks, give each
block a simplex frame of its own in directions that no other block uses, and give classes of different blocks equal
margins. Then all conditions hold exactly, with the multipliers written down above, yet the value is Σ √n_k: for equal
counts K√n instead of (K − 1)√n, however the classes are split. On the left, each such point lies above the dashed line
of the optimum; the margin above it is at least √n_min. Blocks may even differ in size if each frame is stretched by
√(b/(b − 1)); without that they are no KKT points.

On the right, flows started exactly there. The flow of the mathematics stays for ever. The flow of a computer makes
rounding errors, in coordinates turned at random so that no zero is exact; part of an error points down from the saddle
and grows like a power of log t. To grow from 1e-16 to 1 takes until about log t = 1e32 at K = 4, b = 2, so that the
computed flow stays as well at any time that numbers of double precision can reach. (The hump at early time is the
integrator's doing: an explicit step is barely stable in the directions that contract fastest, and lets errors there
grow to its tolerance before it takes smaller steps; the flow then contracts them again.) A start that is 1e-3 away is
another matter: see the experiment on escape.
"""
