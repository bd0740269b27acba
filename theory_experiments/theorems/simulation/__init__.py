"""In the simulated flow norms, angles and self-duality approach collapse like 1/log t, distances like (log t)^(−1/2).

Hypotheses: balanced classes, d ≥ K, gradient flow from random starts. Not known are the settings of the paper's own
simulation: its K, n and d, its starts, its span of time. K = 10, n = 50, d = 64, entries N(0, 1/d), t up to 10^1000 and
the number of starts are ours.
Source: the quantities and the kind of figure, with a guide ∝ 1/log t in each panel: Ji, Lu, Zhang, Deng, Su, "An
Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, Figure 2. Its rows of the classifier are centred.
Falsified by: a metric that stays or stops falling, as the classifier's and the means' do for unequal counts, where the
optimum has another geometry, or for d < K − 1, where no simplex fits; the guide taken for the law of all four panels.
Not verified: the paper's own curves; networks, which are the business of `real_experiments`.
"""

from theory_experiments.theorems.simulation.claims import check
from theory_experiments.theorems.simulation.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.simulation.figure import plot
from theory_experiments.theorems.simulation.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "The simulated flow"

EXPLANATION = """
The four panels of the paper's Figure 2, with its quantities, on a time axis that is even in log log t. Norms of class
means and of centred classifier rows become equal, features of a class become one, angles become those of a simplex, and
each centred row points where its class mean does. The dashed lines are the paper's guide ∝ 1/log t.

The guide is the law of (a), (c) and (d). On this span of log t their exponents are a little above −1, as sizes follow
the margin log t + log log t + …, which grows a little slower than log t. Later, in the section on rates, they are −1
within 0.01. The intervals are those over starts.

The guide is not the law of (b). `nc1_distance` compares lengths and falls like (log t)^(−1/2): feature parts that the
classifier does not see keep their length, while the rest grows like √(log t). The ratio of the squares, `nc1_ratio`,
falls like 1/log t.

With raw rows in place of centred ones (a), (c) and (d) would have the power −1/2 as well, that of the conserved sum of
the classifier's rows: the section on rates measures both kinds of rows side by side, over a longer span of log t.

The settings of the paper's simulation are not known to us, so the curves are no copy of the paper's. The bound on the
size at the end is crude on purpose: it says only that no more than the whole start has stayed where it was while the
rest grew.
"""
