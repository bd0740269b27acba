"""The neural-collapse metrics of samples or of streamed class moments: the public entries, with their checks.

Both reduce the features to `ClassStatistics` first, so that each formula is written once.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.absent import Absent, leaves_out, renumbered, require_two
from ulpm.metrics.centre import Center
from ulpm.metrics.class_statistics import statistics_of
from ulpm.metrics.evaluation import ClassifiedSamples, classes_at, frame_of, metrics_of_statistics
from ulpm.metrics.moments import ClassMoments, require_every_class
from ulpm.metrics.per_class import of_frame, with_classes
from ulpm.metrics.simplex import of_size_one
from ulpm.metrics.tiles import Membership

__all__ = ["neural_collapse", "neural_collapse_from_moments"]

# Of two, far beyond the digits of float64, and such that a bias times this is a number.
_LARGEST_POWER = 900


def neural_collapse(
    W: Float[Tensor, "*batch K d"],
    H: Float[Tensor, "*batch d N"],
    labels: Int[Tensor, " N"],
    bias: Float[Tensor, "*#batch K"] | None = None,
    center: Center = "classes",
    *,
    per_class: bool = False,
    absent: Absent = "refuse",
) -> dict[str, Float[Tensor, "*batch"] | Float[Tensor, "*batch K"]]:
    """All neural-collapse metrics of a classifier W (rows w_k) and features H (columns h_i, class y_i).

    With class means μ_k, their mean μ_G, M = [μ_k − μ_G], Σ_W = N⁻¹ Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ, Σ_B = MMᵀ/K,
    v_k the mean of ‖h − μ_k‖² in class k, h̄ the mean of all samples, w̄_k = w_k − K⁻¹ Σ_j w_j the centred rows and
    E = (I − 11ᵀ/K)/√(K−1), norms without index being Frobenius norms:

        nc0                     ‖Σ_k w_k‖ / ‖W‖
        nc1_pinv                tr(Σ_W Σ_B†)/K                              (Papyan, Han & Donoho, 2020)
        nc1_ratio               tr Σ_W / tr Σ_B
        nc1_cdnv                mean over j < k of (v_j + v_k) / (2‖μ_j − μ_k‖²)      (Galanti et al., 2022)
        nc1_distance            mean over i of ‖h_i − μ_{y_i}‖ / mean over i of ‖h_i − h̄‖       (Ji et al., 2022)
        nc2_norm_means          std/mean over k of ‖μ_k − μ_G‖, std with K − 1        (Papyan et al., 2020)
        nc2_norm_classifier     the same of ‖w_k‖                                     (Papyan et al., 2020)
        nc2_angle_means         mean over j ≠ k of abs(cos(μ_j − μ_G, μ_k − μ_G) + 1/(K−1))    (Papyan et al., 2020)
        nc2_angle_classifier    the same of w_j, w_k                                  (Papyan et al., 2020)
        nc2_etf_means           ‖G/‖G‖ − E‖ with G = MᵀM                    (after Zhu et al., 2021)
        nc2_etf_classifier      the same with G = WWᵀ                       (Zhu et al., 2021)
        nc2_*_classifier_centered   the three of the classifier, of the rows w̄_k (norms and angles: Ji et al., 2022)
        nc3_difference          ‖Wᵀ/‖W‖ − M/‖M‖‖                            (Papyan et al., 2020, squared there)
        nc3_duality             mean over k of ‖(μ_k − μ_G)/‖μ_k − μ_G‖ − w̄_k/‖w̄_k‖‖           (Ji et al., 2022)
        nc3_product             ‖WM/‖WM‖ − E‖    (Zhu et al., 2021; blind to stretching M and shrinking W accordingly)
        nc4_mismatch            share of samples whose nearest class mean is not argmax_k (W h + bias)_k

    Each vanishes at neural collapse. A quotient 0/0 (zero classifier, equal class means, the direction of a class mean
    that is μ_G, or of w̄_k = 0) is NaN, and so are nc1_pinv and nc4_mismatch where all class means are equal. nc1_cdnv
    is inf where two of them are, unless their samples are as close as rounding brings them. A difference of means that
    the rounding of the features explains counts as none; their format (bfloat16, float16, float32, float64) is read off
    their digits.

    With ``per_class`` the values of the single classes are added, [..., K], as ``KEY_per_class``. With the covariance
    Σ_k of class k, all metrics but those of norms are means of them, unweighted or, if marked *, with weights n_k/N:

        nc1_pinv *          tr(Σ_k Σ_B†)/K
        nc1_ratio *         v_k / tr Σ_B
        nc1_cdnv            mean over j ≠ k of (v_j + v_k) / (2‖μ_j − μ_k‖²)
        nc1_distance *      mean over i of class k of ‖h_i − μ_k‖ / mean over all i of ‖h_i − h̄‖
        nc2_norm_*          ‖μ_k − μ_G‖ / mean over j of ‖μ_j − μ_G‖ − 1, of squares with the sum (K−1) metric²
        nc2_angle_*         mean over j ≠ k of abs(cos + 1/(K−1))
        nc3_duality         ‖(μ_k − μ_G)/‖μ_k − μ_G‖ − w̄_k/‖w̄_k‖‖
        nc4_mismatch *      share in class k

    ``nc1_pinv_balanced`` and ``nc1_ratio_balanced`` are added too, with the class-balanced K⁻¹ Σ_k Σ_k for Σ_W.
    :func:`ulpm.class_summary` names the worst class.

    Args:
        W: The classifier [..., K, d], row k is w_k. float32 or float64. Leading axes are replicas.
        H: The features [..., d, N], column i is h_i. float32 or float64, with the leading axes of W.
        labels: The classes y_i [N] in 0 … K−1, in any order. All replicas share them.
        bias: b [K] or [..., K], or None. Only nc4_mismatch uses it.
        center: What stands for μ_G: "classes", the unweighted mean of the class means, or "samples", the mean of all
            samples, h̄.
        per_class: Whether to add the values of the single classes.
        absent: "refuse" a class without samples, or "leave out" such classes and their rows of W. K is then the number
            of classes that are left. Values of single classes stay at their places, NaN for those left out.

    Returns:
        A mapping from the keys above to float64 tensors [...], and [..., K] for the values of single classes. None has
        a unit. All arithmetic is in float64.

    Raises:
        TypeError: For anything but floating W, H and bias, and integer labels.
        ValueError: For shapes that do not fit, entries that are not finite, a label outside 0 … K−1, a class without
            samples, fewer than two classes, or an unknown ``center`` or ``absent``.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=6)
    >>> state = ulpm.collapsed_state(problem)
    >>> metrics = ulpm.neural_collapse(state.W, state.H, problem.labels)
    >>> bool(metrics["nc1_pinv"] < 1e-30), bool(metrics["nc2_angle_means"] < 1e-14), float(metrics["nc4_mismatch"])
    (True, True, 0.0)
    """
    per_class = _checks.flag("per_class", per_class)
    num_classes, dim = _sizes(_checks.real_numbers("W", W))
    _checks.shape("H", _checks.real_numbers("H", H), dim, None)
    if H.shape[:-2] != W.shape[:-2]:
        raise ValueError(
            f"W and H must have the same leading axes, but their shapes are {list(W.shape)} and {list(H.shape)}."
        )
    _checks.computes_in_float64(H.device)
    labels = _checks.one_a_sample("labels", labels, H.shape[-1]).to(H.device)
    W, H, leave_out = W.detach().to(H.device).double(), H.detach().double(), leaves_out(absent)
    membership = Membership(labels, num_classes)
    # All that inputs are checked for, by one transfer from a device: there are no other waits for it but one.
    numbers = (*_sizes_of_entries(W), *_sizes_of_entries(H), *torch.aminmax(labels), membership.counts.min())
    low_W, high_W, low_H, high_H, first, last, fewest = torch.stack([number.double() for number in numbers]).tolist()
    _checks.finite("W", high_W)
    _checks.finite("H", high_H)
    _checks.class_indices("labels", first, last, num_classes)
    if fewest == 0 and not leave_out:
        require_every_class(membership.counts)
    # Of size one where squares would over- or underflow: no metric sees the scale, which a bias shares.
    moderate_W, moderate_H = (
        matrix if low > 1e-60 and high < 1e60 else of_size_one(matrix)
        for matrix, low, high in ((W, low_W, high_W), (H, low_H, high_H))
    )
    if bias is not None:
        bias = _bias(bias, W)
        if moderate_W is not W or moderate_H is not H:
            bias = _times_power(bias, _exponent(moderate_W) - _exponent(W) + _exponent(moderate_H) - _exponent(H))
    W, H = moderate_W, moderate_H
    present = torch.ones(num_classes, dtype=torch.bool, device=H.device) if per_class else None
    if leave_out:
        present = membership.counts > 0
        require_two(present)
        W, labels = W[..., present, :], renumbered(labels, present)
        bias = bias if bias is None else bias[..., present]
        membership = Membership(labels, W.shape[-2])
    found = ClassifiedSamples(*statistics_of(H, membership, membership.counts), W, H, bias, center).metrics()
    if not per_class or present is None:
        return found
    return with_classes(found, classes_at(W, H, labels, bias, center), present)


def neural_collapse_from_moments(
    moments: ClassMoments,
    W: Float[Tensor, "K d"],
    center: Center = "classes",
    *,
    per_class: bool = False,
    absent: Absent = "refuse",
) -> dict[str, Float[Tensor, ""] | Float[Tensor, " K"]]:
    """The metrics of :func:`neural_collapse`, formula for formula, from streamed class moments.

    All keys but nc1_distance and nc4_mismatch, which need the samples again. Σ_W carries the rounding of its trace
    (1e-16 tr Σ_W), so ``nc1_pinv`` loses digits where the features vary almost only orthogonally to the class means;
    the direct form, which projects the samples, does not.

    Args:
        moments: The moments of the features of K classes in d dimensions.
        W: The classifier [K, d], float32 or float64. It is moved to the device of the moments.
        center: What stands for μ_G, as in :func:`neural_collapse`.
        per_class: Whether to add the values of the single classes. nc1_pinv of single classes, and with it
            nc1_pinv_balanced, are not among them: the moments hold the pooled Σ_W.
        absent: What to do with a class without samples, as in :func:`neural_collapse`.

    Returns:
        A mapping from keys to float64 scalars, and to vectors [K] for the values of single classes. All are
        dimensionless.

    Raises:
        TypeError: For anything but ClassMoments and a floating W.
        ValueError: For a W of another size than the moments or not finite, a class without samples, or an unknown
            ``center`` or ``absent``.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=6)
    >>> state = problem.random_state(seed=0)
    >>> moments = ulpm.ClassMoments(num_classes=4, feature_dim=6)
    >>> moments.update(state.H.T, problem.labels)
    >>> streamed = ulpm.neural_collapse_from_moments(moments, state.W)
    >>> direct = ulpm.neural_collapse(state.W, state.H, problem.labels)
    >>> bool((streamed["nc1_pinv"] / direct["nc1_pinv"] - 1).abs() < 1e-12)
    True
    """
    if not isinstance(moments, ClassMoments):
        raise TypeError(f"moments must be a ClassMoments, but a {type(moments).__name__} was given.")
    per_class = _checks.flag("per_class", per_class)
    W, num_classes, dim = _classifier(W)
    if W.ndim != 2 or (num_classes, dim) != (moments.num_classes, moments.feature_dim):
        raise ValueError(
            f"W must have shape [{moments.num_classes}, {moments.feature_dim}] like the moments, "
            f"but its shape is {list(W.shape)}."
        )
    W, present = W.to(moments.device).double(), moments.counts > 0
    if leaves_out(absent) and not bool(present.all()):
        moments, W = moments.without_absent(), W[present]
    statistics = moments.statistics()
    metrics = metrics_of_statistics(statistics, W, center)
    return with_classes(metrics, of_frame(frame_of(statistics, W, center)), present) if per_class else metrics


def _classifier(W: Tensor) -> tuple[Tensor, int, int]:
    """W, detached, with its numbers of classes and features."""
    W = _checks.floating("W", W)
    return W.detach(), *_sizes(W)


def _sizes(W: Tensor) -> tuple[int, int]:
    """The numbers of classes and features."""
    num_classes, dim = _checks.shape("W", W, None, None).shape[-2:]
    if num_classes < 2:
        raise ValueError(f"neural collapse needs at least two classes, but W has {num_classes} row.")
    return num_classes, dim


def _sizes_of_entries(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The largest entry of the replica where that is smallest, and of all; NaN if there is one."""
    # Without a copy of absolute values, which would take as long as the metrics of few classes.
    return torch.aminmax(torch.linalg.vector_norm(matrix, torch.inf, dim=(-2, -1)))


def _exponent(matrix: Tensor) -> Tensor:
    """Of each replica, the power of two that its largest entry is below."""
    return torch.frexp(matrix.abs().amax((-2, -1))).exponent


def _times_power(bias: Tensor, exponent: Tensor) -> Tensor:
    """A bias times a power of two: in two steps, and no larger a one than leaves nothing of W h beside the bias."""
    exponent = exponent.clamp(max=_LARGEST_POWER)[..., None]
    bias = bias.expand(*exponent.shape[:-1], bias.shape[-1])
    half = exponent // 2
    return torch.ldexp(torch.ldexp(bias, half), exponent - half)


def _bias(bias: Tensor, W: Tensor) -> Tensor:
    _checks.shape("bias", _checks.floating("bias", bias), W.shape[-2])
    if bias.ndim > 1 and bias.shape[:-1] != W.shape[:-2]:
        raise ValueError(
            f"bias must have shape {list(W.shape[-2:-1])} or {list(W.shape[:-1])}, but its shape is {list(bias.shape)}."
        )
    return bias.detach().to(W)
