"""Late in the flow L·t·log t → v*/2 and ρ²/log t → 2v*, and each metric falls like a known power of log t.

Hypotheses: the flow ends at the optimum v* of the margin problem, as it does from generic starts for d ≥ K;
v* = (K−1)√n for n samples in each class. The powers are those of generic starts with within-class variation and
Σ_k w_k ≠ 0; K ≥ 3 and d ≥ K. If Σ_k w_k = 0, the raw rows of the classifier have the power of centred ones. If the mean
row is almost orthogonal to the classifier's span, their power shows later than here: such starts are left out.
Source: the orders of L and ρ: Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020;
v*: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, and for unequal
counts Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022. The
constants and the exponents are this project's; the quantities with centred rows, nc1_distance and nc3_duality are those
of Ji et al., who draw a guide ∝ 1/log t beside them.
Falsified by: another constant, K√n or (K−1)n; a dimension too small for collapse; a start with Σ_k w_k = 0, which is
not generic, so that the classifier must converge faster than claimed for those that are; one power 1/log t for all.
Not verified: that the exponents hold for all sizes. Those of `nc2` and of self-duality are proved on the page on the
mathematics; those of `nc1_pinv` and of the stationarity residual are derived in outline below. The exponent of
complementary slackness for balanced counts, which is measured and drawn, has no derivation here.
"""

from theory_experiments.theorems.rates.claims import check
from theory_experiments.theorems.rates.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.rates.figure import plot
from theory_experiments.theorems.rates.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Rates and sharp constants"

EXPLANATION = """
**Left: the constants.** Relative distance of L·t·log t from v*/2 and of ρ²/log t from 2v*, for every start at once
(bands, too narrow to see), and the next term of the expansion (dashed), in which nothing is fitted. Where it comes
from: near the optimal direction, ⟨−∇L, Θ⟩ = 2 Σ p_{ij} q_{ij} ≈ 2 L q with q the margin, the gradient is radial, and
ρ² = 2v*q, so dL/dt = −‖∇L‖² = −4L²q²/ρ² = −(2/v*) L² q. All N(K−1) margins are equal at collapse, so q = m + log N(K−1)
with m = log(1/L). Integrating 1/L gives t = (v*/2)·(1/L)/(m + log N(K−1))·(1 + 1/m + …), and therefore

    L·t·log t = (v*/2)·(1 + (1 + log(v*/2) − log m − log N(K−1))/m + …),
    ρ² = 2v*·(log t + log log t − log(v*/2) + log N(K−1) + …).

The corrections are of order log log t/log t: only at t = 10^(10^5) are the constants right to four digits.

**Middle and right: the exponents.** Write m = log t, S for the span of the classifier at the end of time. Every
exponent follows from what does *not* grow like √m, while everything in S does.

- *Σ_k w_k is conserved*: w_k = √m·w*_k + w̄ + O(m^(−1/2)) with the same frozen w̄ for each class. Divided by ‖W‖ ~ √m
  it is m^(−1/2): `nc0`, and all metrics that compare raw rows of W with each other or with the means, to first order.
- *Centred rows w_k − w̄* have no frozen part. Their Gram matrix is √n·q·(C + X/(2√n q)) with the margin q ~ m, the
  simplex C = I − 11ᵀ/K and a bounded X that is read off the conserved WᵀW − HHᵀ: `nc2_*_classifier_centered` and
  `nc3_duality` are 1/m, as the paper's guide says. The page on the mathematics has the proof and the constants.
- *Feature parts orthogonal to the classifier feel no force*, as dH/dt = WᵀR lies in the span of W. Their variance is
  constant while the means grow: `nc1_ratio` and `nc1_cdnv` are 1/m, and the part itself, which `nc1_distance` compares
  with the means, is m^(−1/2) of ρ. With w̄ it
  makes up the stationarity residual, m^(−1/2), and as an excess in ρ² that does nothing for the margin it makes
  1 − γ/γ* fall like 1/m.
- *Class means about their mean* have no frozen part if counts are balanced: a combination Σ_i c_i h_i feels no force
  from W when R c = 0, and among class-wise c that is only c_i ∝ 1/n_{y_i}; it gives every class the same offset, and
  centring removes it. So their norms and angles are off by the next order, 1/m.
- `nc1_pinv` sees the within-class variation only along the class means. These tilt out of S by 1/m (conservation of
  WᵀW − HHᵀ across S fixes an off-diagonal block of order 1, against √m·√m), where they meet the frozen variation of
  order 1: (1/m)²/m = m^(−3).
- *Unequal counts*: the frozen offset ∝ 1/n_k now differs between classes, centring leaves a part of order 1 out of S,
  the tilt is m^(−1/2), and `nc1_pinv` is m^(−2). The optimum is no simplex and not self-dual: all `nc2`,
  `nc3_difference` and `nc3_duality` tend to positive constants.
  Multipliers differ, so margins differ by their logarithms, of order 1, and complementary slackness is 1/m.

*The test of the cause.* Take the mean off the rows of W at the start, so that w̄ = 0 for ever ("centred"). Then the
classifier's metrics and `nc3_difference` must fall like 1/m instead of m^(−1/2), and nothing else may change. They do.

*Exceptions.* With d = K − 1 there is no room orthogonal to the classifier, nothing within the classes stays frozen, and
nc1 falls faster than any power. With K = 2 the only angle is π, where the cosine is quadratic, so that
`nc2_angle_classifier` falls like 1/m, and the two centred means always have equal norms. Complementary slackness for
balanced counts is drawn (hollow marker, fitted over the decade of log t before the others, as it soon comes down to the
error of the gaps) without a prediction: theory gives only that it falls at least like 1/m.
"""
