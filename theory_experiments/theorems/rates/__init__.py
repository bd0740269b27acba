"""Late in the flow L·t·log t → v*/2 and ρ²/log t → 2v*, and each metric falls like a known power of log t.

Hypotheses: the flow ends at the optimum v* of the margin problem, as it does from generic starts for d ≥ K;
v* = (K−1)√n for n samples in each class. The powers hold for generic starts with within-class variation and
Σ_k w_k ≠ 0; K ≥ 3 and d ≥ K. If Σ_k w_k = 0, the raw rows of the classifier have the power of centred rows. If the mean
row is almost orthogonal to the classifier's span, their power shows later than here; we leave such starts out.
Source: for the orders of L and ρ Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020.
For v* Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, and for unequal
counts Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022. The
constants and the exponents are this project's. The quantities with centred rows, nc1_distance and nc3_duality are those
of Ji et al., who draw a guide ∝ 1/log t next to them.
Negative controls: another constant or another exponent would refute the claim. We claim the constants K√n and (K−1)n,
and the power 1/log t for all metrics. We take a dimension too small for collapse. And we take a start with Σ_k w_k = 0,
which is not generic: there the classifier must converge faster than claimed for generic starts.
Not verified: that the exponents hold for all sizes. The page on the mathematics proves those of `nc2` and of
self-duality. Those of `nc1_pinv` and of the stationarity residual are derived in outline below. The exponent of
complementary slackness for balanced counts is measured and drawn, but not derived.
"""

from theory_experiments.theorems.rates.claims import check
from theory_experiments.theorems.rates.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.rates.figure import plot
from theory_experiments.theorems.rates.measurement import simulate

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

TITLE = "Rates and sharp constants"

LEARNT = (
    "The constants v*/2 and 2v* hold to less than 10⁻⁴ at t = 10^(10^5), and all exponents of log t agree with the "
    "predicted ones within 0.01."
)

EXPLANATION = """
**Left: the constants.** The panel shows the relative distance of L·t·log t from v*/2 and of ρ²/log t from 2v*, for all
starts (bands, too narrow to see). The dashed lines are the next term of the expansion; nothing is fitted. It is derived
as follows. Near the optimal direction ⟨−∇L, Θ⟩ = 2 Σ p_{ij} q_{ij} ≈ 2 L q with q the margin, the gradient is radial,
and ρ² = 2v*q. So dL/dt = −‖∇L‖² = −4L²q²/ρ² = −(2/v*) L² q. All N(K−1) margins are equal at collapse, so
q = m + log N(K−1) with m = log(1/L). Integrating 1/L gives t = (v*/2)·(1/L)/(m + log N(K−1))·(1 + 1/m + …). Therefore

    L·t·log t = (v*/2)·(1 + (1 + log(v*/2) − log m − log N(K−1))/m + …),
    ρ² = 2v*·(log t + log log t − log(v*/2) + log N(K−1) + …).

The corrections are of order log log t/log t. So the constants are right to four digits only at t = 10^(10^5).

**Middle and right: the exponents.** Write m = log t, and S for the span of the classifier in the limit. Everything in S
grows like √m. Every exponent follows from the parts that do *not* grow.

- *Σ_k w_k is conserved*: w_k = √m·w*_k + w̄ + O(m^(−1/2)), with the same frozen w̄ for each class. Divided by ‖W‖ ~ √m
  this gives m^(−1/2). It is the power of `nc0`, and to first order of all metrics that compare raw rows of W with each
  other or with the means.
- *Centred rows w_k − w̄* have no frozen part. Their Gram matrix is √n·q·(C + X/(2√n q)) with the margin q ~ m, the
  simplex C = I − 11ᵀ/K and a bounded X that follows from the conserved WᵀW − HHᵀ. So `nc2_*_classifier_centered` and
  `nc3_duality` are 1/m, as the paper's guide says. The page on the mathematics has the proof and the constants.
- *Feature parts orthogonal to the classifier feel no force*, as dH/dt = WᵀR lies in the span of W. Their variance is
  constant while the means grow: `nc1_ratio` and `nc1_cdnv` are 1/m. `nc1_distance` compares the part itself with the
  means and is m^(−1/2). With w̄ this part makes up the stationarity residual, m^(−1/2). It adds to ρ² without any effect
  on the margin, so 1 − γ/γ* falls like 1/m.
- *Class means minus their mean* have no frozen part if counts are balanced. A combination Σ_i c_i h_i feels no force
  from W if R c = 0. Among class-wise c only c_i ∝ 1/n_{y_i} does this. It gives every class the same offset, which
  centring removes. So the norms and angles of the means have an error of the next order, 1/m.
- `nc1_pinv` sees the within-class variation only along the class means. These tilt out of S by 1/m: conservation of
  WᵀW − HHᵀ across S fixes an off-diagonal block of order 1, against √m·√m. There they meet the frozen variation of
  order 1, so (1/m)²/m = m^(−3).
- *Unequal counts*: now the frozen offset ∝ 1/n_k differs between classes. Centring leaves a part of order 1 outside S,
  the tilt is m^(−1/2), and `nc1_pinv` is m^(−2). The optimum is not a simplex and not self-dual: all `nc2`,
  `nc3_difference` and `nc3_duality` tend to positive constants. The multipliers differ, so the margins differ by their
  logarithms, of order 1, and complementary slackness is 1/m.

*A test of the cause.* Subtract the mean from the rows of W at the start, so that w̄ = 0 at all times ("centred"). Then
the classifier's metrics and `nc3_difference` must fall like 1/m instead of m^(−1/2), and nothing else may change. This
is what happens.

*Exceptions.* With d = K − 1 there is no room orthogonal to the classifier. Then no within-class part is frozen, and nc1
falls faster than any power. With K = 2 the only angle is π, where the cosine is quadratic. Then `nc2_angle_classifier`
falls like 1/m, and the two centred means always have equal norms. Complementary slackness for balanced counts is drawn
without a prediction (hollow marker): theory gives only that it falls at least like 1/m. We fit it over the decade of
log t before the others, as it soon reaches the error of the gaps.
"""
