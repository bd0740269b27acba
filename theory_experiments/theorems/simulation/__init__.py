"""In the simulated flow norms, angles and self-duality approach collapse like 1/log t, distances like (log t)^(−1/2).

Hypotheses: balanced classes, d ≥ K, gradient flow from random starts. We do not know the settings of the paper's
simulation: its K, n and d, its starts and its end time. K = 10, n = 50, d = 64, entries N(0, 1/d), t up to 10^1000 and
the number of starts are ours.
Source: the quantities and the kind of figure, with a guide ∝ 1/log t in each panel: Ji, Lu, Zhang, Deng, Su, "An
Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, Figure 2. Its rows of the classifier are centred.
Negative controls: a metric that stops falling, or falls with another power, would refute the claim. We take unequal
counts, where the optimum has another geometry, and d < K − 1, where no simplex fits. And we claim the guide as the law
of all four panels.
Not verified: the paper's own curves. `real_experiments` treats networks.
"""

from theory_experiments.theorems.simulation.claims import check
from theory_experiments.theorems.simulation.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.simulation.figure import plot
from theory_experiments.theorems.simulation.measurement import simulate

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

TITLE = "The simulated flow"

LEARNT = (
    "The paper's guide 1/log t is the law of three of its four panels; the distance of the features from their "
    "class means falls only like (log t)^(−1/2)."
)

EXPLANATION = """
The figure shows the four panels of the paper's Figure 2, with its quantities, on a time axis that is linear in log
log t. Norms of class means and of centred classifier rows become equal. Features of a class become one. Angles become
those of a simplex, and each centred row points along its class mean. The dashed lines are the paper's guide ∝ 1/log t.

The guide is the law of (a), (c) and (d). On this span of log t their exponents are a little above −1: the sizes follow
the margin log t + log log t + …, which grows a little more slowly than log t. Later, on the page on [rates](rates.md),
they are −1 within 0.01. The intervals are over starts.

The guide is not the law of (b). `nc1_distance` compares lengths and falls like (log t)^(−1/2): feature parts orthogonal
to the classifier keep their length, while the rest grows like √(log t). The ratio of the squares, `nc1_ratio`, falls
like 1/log t.

With raw rows in place of centred ones (a), (c) and (d) would have the power −1/2 too, from the conserved sum of the
classifier's rows. The page on rates measures both kinds of rows over a longer span of log t.

We do not know the settings of the paper's simulation, so the curves are not a copy of the paper's. The bound on the
size at the end is crude on purpose. It says only that the frozen part is at most the whole start, while the rest grew.
"""
