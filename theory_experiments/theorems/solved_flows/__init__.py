"""Two flows are solved exactly: a collapsed start at all times, and a Hadamard start up to its singular values.

Hypotheses: K classes of n samples, d ≥ K − 1. Collapsed ray: W = a C Qᵀ, H = (a/√n) Q C repeated over the samples, with
    C = I − 11ᵀ/K, QᵀQ = I. Hadamard start: K = 2^m, W = Φ diag(a) Qᵀ, H = Q diag(b) Φᵀ repeated, a = √n b, with the
    characters of (ℤ/2)^m as columns of √K·Φ. Constants of a loss: φ ~ e^(−κq) at large margin q.
Source: for the Hadamard start Garrod, Keating, Thrampoulidis, "Diagonalizing the Softmax: Hadamard Initialization for
    Tractable Cross-Entropy Dynamics", 2025. They prove, with a Lyapunov function, that this flow converges to neural
    collapse. The Lyapunov function here, the closed form of the ray and the constants of other losses are this
    project's. The model: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.
Negative controls: an error of the flow above the tolerance, or a Lyapunov function that increases, would refute the
    claim. We change the constant in the closed form and start next to the ray. We take singular vectors that are not
    characters, and a ≠ √n b, where σ has another equation. We replace the Lyapunov function by log(max σ/min σ), which
    grows for some starts with K = 16. And we claim κ = 1 for focal loss.
Not verified: Hadamard matrices that are not tables of characters, such as those with K = 12. For losses other than
    cross-entropy we compare the equation of the ray with gradient flows by autograd and scipy at moderate times, and
    the constants are those of that equation. The experiment on losses has their late flows.
"""

from theory_experiments.theorems.solved_flows.claims import check
from theory_experiments.theorems.solved_flows.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.solved_flows.figure import plot
from theory_experiments.theorems.solved_flows.measurement import simulate

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

TITLE = "Solved flows"

LEARNT = (
    "The solver agrees with the closed form of the collapsed ray up to log10 t = 1,000,000, with a relative error "
    "of at most 10⁻¹¹ there, and Λ increased along no Hadamard start beyond rounding."
)

EXPLANATION = """
**Top left: the collapsed ray.** A collapsed start stays collapsed. One number moves, the margin q, and its equation
dq/dt = 2√n q·K e^(−q)/(1 + (K − 1)e^(−q)) has a closed form:

    t = [Ei(q) − Ei(q₀) + (K − 1) ln(q/q₀)]/(2K√n),    L = nK log(1 + (K − 1)e^(−q)),    ρ² = 2(K − 1)√n q.

The curves are relative errors of log L, the largest over all starts, at two tolerances. The bounds of the claims are
dashed. The errors fall late, because then log t alone decides q. For K ≥ 3 they have a minimum where stability makes
the steps of the explicit method shorter than the tolerance requires, before the stiff method takes over. We read the
margin q of a run from ρ². Single margins differ by a few times rtol near t = 10^30. There the explicit method is at its
limit of stability and raises rounding errors to the tolerance. The mean of the margins does not differ.

**Top right: a Hadamard start.** The classifier and the class means have the characters of (ℤ/2)^m as singular vectors.
The logit of class k for a sample of class j then depends only on the product of k and j in the group. So the characters
diagonalise the residual too, the vectors stay fixed, and

    σ̇_s = 2√n σ_s (1 − Σ_g p(g) χ_s(g)),    p = softmax(−q),    q(g) = (2/K) Σ_{s: χ_s(g) = −1} σ_s,    q(0) = 0.

Marks are σ of the library's flow. Lines are the solution of this equation by a method that uses neither W nor H. The
dashed line is the ray, on which all starts end. If a² − n b² = c is not zero, √(c² + 4nσ²) replaces 2√n σ.

**Bottom left: a Lyapunov function.** Λ = log(arithmetic mean of σ) − log(geometric mean of σ) is positive unless all σ
are equal, which is neural collapse. It never increases.

*Proof.* Each g ≠ 0 separates half of the characters, so the mean of q(g) over g ≠ 0 is the mean σ̄ of σ. With
1 − Σ_g p(g)χ_s(g) = 2 Σ_{g: χ_s(g) = −1} p(g), sums over s give

    d(log σ̄)/dt = (2√n K/((K − 1)σ̄)) Σ_{g≠0} p(g)q(g),    d(mean of log σ)/dt = (2√n K/(K − 1)) Σ_{g≠0} p(g),

hence dΛ/d(log σ̄) = 1 − σ̄/⟨q⟩, where ⟨q⟩ is the mean of q(g) with the weights e^(−q(g)). The weights are larger
where q is smaller. So ⟨q⟩ ≤ σ̄ (Chebyshev's sum inequality), with equality only if all q(g), and hence all σ, are
equal. ∎

*Convergence.* Λ ≤ Λ(0) keeps every σ_s/σ̄ above a positive constant. The σ_s increase. If they were bounded, they would
have a limit at which the flow stops, but it never stops. So σ̄ → ∞. Suppose that Λ stayed above some ε > 0. Then the
smallest margin would be at most (1 − η)σ̄ and ⟨q⟩ at most (1 − η)σ̄ + K/e. Then dΛ/d(log σ̄) would stay below a negative
constant, and Λ would become negative. So Λ → 0. ∎

Near the end 1 − σ̄/⟨q⟩ ≈ −Var(q)/σ̄ and Var(q) = Var(σ)/K. So Λ ∝ e^(−2σ̄/K) (dashed), about (t log t)^(−2/K): a power of
t, where random starts have powers of log t only. The ratio max σ/min σ has the same limit, but is not a Lyapunov
function (dotted, K = 16). The flow raises the σ_s that separate the closest pair of classes, and the largest σ_s may
be among these. For K = 4 and 8 the ratio never grows.

**Bottom right: other losses.** If all margins are q and a sample's loss is φ(q), then dq/dt = −2q·nK φ′(q)/((K − 1)√n).
With φ ~ A e^(−κq) this gives L·t·log t → v*/(2κ) and ρ²/log t → 2v*/κ. Focal loss of exponent γ has κ = 1 + γ. The
panel shows the relative distance of L·t·log t from its limit and the next term of the expansion (dashed). Nothing is
fitted.
"""
