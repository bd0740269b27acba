"""Some flows are solved exactly: a collapsed one at all times, and one from a Hadamard start up to its singular values.

Hypotheses: K classes of n samples, d ≥ K − 1. Collapsed ray: W = a C Qᵀ, H = (a/√n) Q C spread over the samples, with
    C = I − 11ᵀ/K, QᵀQ = I. Hadamard start: K = 2^m, W = Φ diag(a) Qᵀ, H = Q diag(b) Φᵀ spread, a = √n b, with the
    characters of (ℤ/2)^m as columns of √K·Φ. Constants of a loss: φ ~ e^(−κq) at large margin q.
Source: the Hadamard start: Garrod, Keating, Thrampoulidis, "Diagonalizing the Softmax: Hadamard Initialization for
    Tractable Cross-Entropy Dynamics", 2025, who prove from it, with a Lyapunov function, that the flow converges to
    neural collapse. The Lyapunov function here, the closed form of the ray and the constants of other losses are this
    project's. The model: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.
Falsified by: another constant in the closed form; a start near the ray but not on it; singular vectors that are no
    characters; a ≠ √n b, where the equation of σ is another one; log(max σ/min σ) in the place of the Lyapunov
    function, which grows for some starts with K = 16; κ = 1 for focal loss.
Not verified: Hadamard matrices that are no tables of characters, such as those with K = 12. For
    losses other than cross-entropy the equation of the ray is compared with gradient flows of autograd by scipy at
    moderate times, and the constants are those of that equation; the experiment on losses has their late flows.
"""

from theory_experiments.theorems.solved_flows.claims import check
from theory_experiments.theorems.solved_flows.config import FALSIFIED, FULL, QUICK, Config
from theory_experiments.theorems.solved_flows.figure import plot
from theory_experiments.theorems.solved_flows.measurement import simulate

__all__ = ["EXPLANATION", "FALSIFIED", "FULL", "QUICK", "TITLE", "Config", "check", "plot", "simulate"]

TITLE = "Solved flows"

EXPLANATION = """
**Top left: the collapsed ray.** A collapsed start stays collapsed, one number moves, and its equation has a closed
form: from dq/dt = 2√n q·K e^(−q)/(1 + (K − 1)e^(−q)),

    t = [Ei(q) − Ei(q₀) + (K − 1) ln(q/q₀)]/(2K√n),    L = nK log(1 + (K − 1)e^(−q)),    ρ² = 2(K − 1)√n q.

The curves are relative errors of log L, the largest over all starts, at two tolerances; the bounds of the claims are
dashed. Errors fall late, because log t alone then decides q. For K ≥ 3 they dip where stability makes the steps of the
explicit method shorter than the tolerance asks, before the stiff method takes over. The margin q of a run is read from
ρ². Single margins differ by a few times rtol near t = 10^30, where the explicit method works at its limit of stability
and raises rounding errors to the tolerance; their mean does not.

**Top right: a Hadamard start.** The classifier and the class means have the characters of (ℤ/2)^m as singular vectors.
The logit of class k for a sample of class j then depends on the product of k and j in the group only, so that the
residual is diagonalised by the characters too: the vectors stay, and

    σ̇_s = 2√n σ_s (1 − Σ_g p(g) χ_s(g)),    p = softmax(−q),    q(g) = (2/K) Σ_{s: χ_s(g) = −1} σ_s,    q(0) = 0.

Marks are σ as the library's flow has them, lines the solution of this equation by a method that knows neither W nor H,
and the dashed line is the ray, on which all starts end. (Where a² − n b² = c is not zero, 2√n σ becomes √(c² + 4nσ²).)

**Bottom left: a Lyapunov function.** Λ = log(arithmetic mean of σ) − log(geometric mean of σ) is positive unless all σ
are equal, which is neural collapse. It never increases. *Proof.* Each g ≠ 0 separates half of the characters, so the
mean of q(g) over g ≠ 0 is the mean σ̄ of σ. With 1 − Σ_g p(g)χ_s(g) = 2 Σ_{g: χ_s(g) = −1} p(g), sums over s give

    d(log σ̄)/dt = (2√n K/((K − 1)σ̄)) Σ_{g≠0} p(g)q(g),    d(mean of log σ)/dt = (2√n K/(K − 1)) Σ_{g≠0} p(g),

hence dΛ/d(log σ̄) = 1 − σ̄/⟨q⟩, where ⟨q⟩ is the mean of q(g) with the weights e^(−q(g)). These are larger where q is
smaller, so ⟨q⟩ ≤ σ̄ (Chebyshev's sum inequality), with equality only if all q(g), and with them all σ, are equal. ∎
*Convergence.* Λ ≤ Λ(0) keeps every σ_s/σ̄ above a positive constant. The σ_s increase; bounded ones would have a limit
at which the flow stops, but it never stops. So σ̄ → ∞. If Λ stayed above some ε > 0, the smallest margin would be at
most (1 − η)σ̄ and ⟨q⟩ at most (1 − η)σ̄ + K/e; then dΛ/d(log σ̄) would stay below a negative constant and Λ would become
negative. So Λ → 0. ∎ Near the end 1 − σ̄/⟨q⟩ ≈ −Var(q)/σ̄ and Var(q) = Var(σ)/K, so that Λ ∝ e^(−2σ̄/K) (dashed), about
(t log t)^(−2/K): a power of t, where random starts have powers of log t only.
The ratio max σ/min σ has the same limit, but is no Lyapunov function (dotted, K = 16). The flow raises the σ_s that
separate the closest pair of classes, and these can hold the largest. For K = 4 and 8 the ratio never grows.

**Bottom right: other losses.** If all margins are q and a sample's loss is φ(q), then dq/dt = −2q·nK φ′(q)/((K − 1)√n).
With φ ~ A e^(−κq) this gives L·t·log t → v*/(2κ) and ρ²/log t → 2v*/κ. Focal loss of exponent γ has κ = 1 + γ. Drawn is
the relative distance of L·t·log t from its limit and the next term of the expansion (dashed), in which nothing is
fitted.
"""
