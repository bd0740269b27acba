"""The margin problem has KKT points that are not optimal: classes in blocks, with the value Σ √n_k for every partition.

Hypotheses: the K classes are split into m ≥ 2 blocks of b_k ≥ 2 classes, with equal counts within a block; d ≥ K − m.
    Each block has a simplex frame of its own, orthogonal to the others: w_k = s_k n_k^{1/4} a_k,
    h_{k,i} = s_k n_k^{−1/4} a_k. Here a_k are the rows of I_b − 11ᵀ/b, and s_k² = b_k/(b_k − 1). If all b and all n are
    equal, the value is K√n, against (K − 1)√n at the optimum. Then the point is critical for the loss at every norm,
    and we start flows there.
Source: that such points exist: Example 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on
    Neural Collapse", 2022. We do not know the numbers of that example. The block points are this project's. Their
    multipliers are λ_{ij} = 1/((K − b_{y_i})√n_{y_i}) between blocks and 0 within.
Negative controls: three things would refute the claim: a KKT residual above rounding, another value than Σ √n_k, and a
    flow that moves away by more than amplified rounding. We perturb a block point, and we take blocks of unequal size
    without the factors s_k.
Not verified: that there are no other KKT points that are not optimal. There are: see narrow_features.
"""

from theory_experiments.theorems.suboptimal_kkt_points.claims import check
from theory_experiments.theorems.suboptimal_kkt_points.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.suboptimal_kkt_points.figure import plot
from theory_experiments.theorems.suboptimal_kkt_points.measurement import simulate

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

TITLE = "Suboptimal KKT points"

LEARNT = (
    "Block points satisfy the KKT conditions up to rounding for all 25 partitions tried, with values at least "
    "√n_min above the optimum, and flows that start exactly there stay there up to log t = 10⁶."
)

EXPLANATION = """
The flow can only end at points that satisfy the Karush–Kuhn–Tucker (KKT) conditions of the margin problem. If the
global optimum were the only such point, nothing would be left to prove. But there are others. Split the classes into
blocks. Give each block a simplex frame of its own, in directions that no other block uses. Give classes of different
blocks equal margins. Then all conditions hold exactly, with the multipliers above. But the value is Σ √n_k. For equal
counts this is K√n instead of (K − 1)√n, for every partition.

**Left.** Each such point lies above the dashed line of the optimum, by at least √n_min. The blocks may differ in size
if each frame is stretched by √(b/(b − 1)). Without this factor they are not KKT points.

**Right.** These flows start exactly at block points. The exact flow stays there for ever. The computed flow makes
rounding errors; we rotate the coordinates at random, so that no zero is exact. A part of each error points down from
the saddle and grows like a power of log t. It grows from 1e-16 to 1 by about log t = 1e32 for K = 4, b = 2. So the
computed flow stays there too, at all times that double precision can reach. The early hump comes from the integrator.
An explicit step is barely stable in the directions that contract fastest. Errors there grow to its tolerance before
it takes smaller steps; then the flow contracts them again. A start that is 1e-3 away does leave: see the page on
escape.
"""
