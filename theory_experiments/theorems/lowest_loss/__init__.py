"""At every norm, neural collapse has the lowest loss of all directions in which the loss goes to zero.

Hypotheses: K classes of n samples each, d ≥ K − 1. Directions are compared at equal norm ρ² = ‖W‖² + ‖H‖². Collapse of
    this norm has the margin q = ρ²/(2(K − 1)√n) and the loss N log(1 + (K − 1)e^(−q)).
    Proof in brief. Let Ĉ have the columns of I − 11ᵀ/K, each repeated n times and divided by √n; then ‖Ĉ‖_op = 1, and
    the residual of collapse is R = μĈ. The loss is convex in Z, and ⟨Ĉ, Z⟩ ≤ ‖Z‖_* ≤ ½ρ². So everywhere on the sphere
    L ≥ L_NC + μD with D = ½ρ² − ⟨Ĉ, Z⟩ ≥ 0. This D is also the sum of squares ½‖Wᵀ − HĈᵀ‖² + ½‖H − HĈᵀĈ‖². The first
    one measures the lack of self-duality, since HĈᵀ has the columns √n(h̄_k − h̄). The second one measures the variation
    within classes and the mean of all features.
Source: Theorem 3.3 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.
    The statement for every norm, the bound by D and the second order at collapse are this project's.
Negative controls: four things would refute the claim: a direction with a lower loss than collapse at one norm, a loss
    below the bound, a difference of log L that does not grow like (γ* − γ)ρ², and a search that ends level with
    collapse but elsewhere. We take unequal class counts, where a simplex frame is not the optimum. We claim the lowest
    loss for an orthogonal frame, for W twice as long as H, and for d = K − 2, where the frame does not fit. And we
    claim the bound with 2D.
Not verified: directions outside the families and searches; for those there is only the proof. We do not know the
    hypotheses of the paper's theorem or its definition of a direction, only the content in the first line.
"""

from theory_experiments.theorems.lowest_loss.claims import check
from theory_experiments.theorems.lowest_loss.config import FULL, NEGATIVE_CONTROLS, QUICK, Config
from theory_experiments.theorems.lowest_loss.figure import plot
from theory_experiments.theorems.lowest_loss.measurement import simulate

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

TITLE = "The lowest loss"

LEARNT = (
    "None of 19,761 separating directions at 12 norms, and none of 1,020 searches on spheres, had a lower loss "
    "than neural collapse."
)

EXPLANATION = """
Take any direction that separates the classes and scale it up: its loss goes to zero. Which direction has the lowest
loss at a given norm? The answer is neural collapse, at every norm and not only at large ones. The loss is convex in the
logits, and on a sphere the nuclear norm of the logits is bounded. The residual at collapse is μĈ with a matrix Ĉ of
operator norm 1. So the tangent plane at collapse shows that every other point has a loss of at least L_NC + μD. The
number D is a sum of two squares. One measures the lack of self-duality, the other the variation within classes and the
mean of all features.

We compare collapse with thousands of separating directions: flows that were stopped early, perturbed frames, random
classifiers with fitted features and the reverse, block points, the optimal geometry of other class counts (SELI),
unequal norms of W and H, frames with one tilted row, and mixtures of all these. We compute everything from logit gaps,
so that losses such as e^(−1000000) are compared without loss of accuracy.

**Left.** The panel shows the excess of log L over that of collapse. No direction lies below the line at 0. At large
norm each excess grows like (γ* − γ)ρ². The dashed line shows this for the exact block point.

Searches are a harder test. They minimise the loss on the sphere from random points, from points near collapse and from
points near block points. None ends below collapse.

**Right.** Only collapse attains the minimum. The panel shows perturbed frames at several norms. The excess grows like
the square of the distance from the nearest collapsed state. It is never below the dashed lines, which follow from the
least curvature min(1, 2q/K) μ/L. Perturbations along the softest direction lie on them. The dense Hessian confirms that
curvature. Its zeros are those of rotations of feature space, and no others.

The negative controls show which hypotheses the claim needs. With unequal class counts the simplex frame is not lowest:
both the families and the searches contain better points. The same holds for an orthogonal frame, for a frame with
‖W‖ = 2‖H‖, and for a frame that was cut to d = K − 2 dimensions.
"""
