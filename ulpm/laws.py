"""Late-time power laws: the exponent in log t of every recorded quantity, for a flow that ends at the optimum.

This is the only table of laws. Figures draw these powers beside a run, experiments claim them.
"""

import math

from ulpm.problem import Problem

__all__ = ["late_limits", "law_exponent", "law_exponents"]

_MEANS = ("nc2_norm_means", "nc2_angle_means", "nc2_etf_means")
_RAW_ROWS = ("nc2_norm_classifier", "nc2_angle_classifier", "nc2_etf_classifier")
_CENTRED_ROWS = tuple(f"{name}_centered" for name in _RAW_ROWS)
_WITHIN = ("nc1_pinv", "nc1_ratio", "nc1_cdnv", "nc1_distance")

_Laws = dict[str, float | None]

# Everything in the span of the classifier grows like √(log t). Each exponent comes from a part that does not grow; the
# page on the mathematics derives it. First the case that the others change: equal counts, K ≥ 3, d ≥ K, Σ_k w_k ≠ 0.
_BALANCED: _Laws = {
    # Σ_k w_k is conserved, and ‖W‖ grows like √(log t), whatever the geometry.
    "nc0": -0.5,
    # The class means tilt by 1/log t out of the span of the classifier, into frozen variation: (1/log t)²/log t.
    "nc1_pinv": -3.0,
    # Feature parts orthogonal to the classifier are frozen. These two compare squares, the third compares lengths.
    "nc1_ratio": -1.0,
    "nc1_cdnv": -1.0,
    "nc1_distance": -0.5,
    # W̃W̃ᵀ = √n q (C + X/(2√n q) + …) with margin q ~ log t, C the simplex and X bounded, X from the conserved WᵀW − HHᵀ;
    # W̃ are the centred rows. Class means follow, as W̃M = q C but for what vanishes.
    **dict.fromkeys((*_MEANS, *_CENTRED_ROWS, "nc3_duality"), -1.0),
    # A raw row is a centred row and the frozen mean of all rows: a relative change of order (log t)^(−1/2).
    **dict.fromkeys((*_RAW_ROWS, "nc3_difference", "nc3_product"), -0.5),
    # What is frozen is not along the gradient; in ρ² it is an excess of order 1 that does nothing for the margin.
    "stationarity": -0.5,
    "margin deficit": -1.0,
    # The bounds of the optimum feel the frozen mean row in second order.
    "gap": -1.0,
}

# Unequal counts, K ≥ 3: no simplex (Thrampoulidis et al., 2022).
_UNEQUAL: _Laws = {
    # In the class means the frozen offset is η/n_k. Centring leaves a part of order 1: they tilt by (log t)^(−1/2).
    "nc1_pinv": -2.0,
    # At the optimum WWᵀ ∝ (C diag(n) C)^{1/2}, and MᵀM is its pseudo-inverse up to a factor. These are multiples of C
    # for equal counts only. A class with more samples has a longer row and a shorter mean. So none of these vanishes.
    **dict.fromkeys((*_MEANS, *_RAW_ROWS, *_CENTRED_ROWS, "nc3_difference", "nc3_duality"), 0.0),
    # Multipliers differ, so margins differ by their logarithms, of order 1.
    "complementarity": -1.0,
}

# Two classes end collapsed, whatever their counts.
_TWO_CLASSES: _Laws = {
    # Two centred vectors are opposite to each other at any time: these are zero but for rounding.
    **dict.fromkeys((*_MEANS, *_CENTRED_ROWS)),
    "nc2_norm_classifier": -0.5,
    "nc2_etf_classifier": -0.5,
    # About the angle π the cosine is quadratic in the frozen mean row.
    "nc2_angle_classifier": -1.0,
    "nc3_difference": -0.5,
    # All multipliers are equal at the optimum, as for equal counts.
    "complementarity": None,
}


def law_exponents(problem: Problem, *, centred: bool = False) -> dict[str, float]:
    """a for each quantity ∝ (log t)^a late in a flow that ends at the optimum v*; 0 is a positive constant.

    Keys are those of ``ulpm.neural_collapse``, "stationarity" and "complementarity" (residuals of ``ulpm.certify``),
    "margin deficit" (1 − γ/γ*) and "gap" (of the certificate's bounds). Quantities without a known law are left out;
    so are all where margins do not grow for ever, and with a bias, which grows like log log t.
    ``centred`` is for starts with Σ_k w_k = 0, other starts are generic ones.
    """
    if not problem.has_margins or problem.bias:
        return {}
    laws: _Laws = dict(_BALANCED)
    num_classes, dim = problem.num_classes, problem.feature_dim
    if not problem.balanced:
        laws |= _UNEQUAL
    if num_classes == 2:
        # With unequal counts the frozen offset η/n_k of the means stays, as in nc1_pinv.
        laws |= {**_TWO_CLASSES, "nc3_duality": -1.0 if problem.balanced else -0.5}
    if centred:
        laws |= _changes_if_centred(problem, laws)
    if max(problem.class_counts) == 1:
        laws |= dict.fromkeys(_WITHIN)  # zero: a class of one sample does not vary
    if dim == num_classes - 1:
        # Nothing is orthogonal to the classifier, so nothing within the classes is frozen: faster than any power.
        laws |= dict.fromkeys(_WITHIN)
        if num_classes == 2:
            laws |= dict.fromkeys(("nc2_angle_classifier", "nc3_duality"))  # signs: exactly zero
        if centred:
            laws |= dict.fromkeys(("stationarity", "margin deficit", "gap"))  # nothing at all is frozen
    if dim < num_classes - 1:
        laws = {"nc0": laws["nc0"]}  # where such a flow ends depends on its start
    return {name: exponent for name, exponent in laws.items() if exponent is not None}


def late_limits(problem: Problem) -> tuple[float, float]:
    """(v*/(2κ), 2v*/κ): the limits of L·t·log t and of ρ²/log t in a flow that ends at the optimum v*.

    The loss of a sample falls like e^{−κq} with the margin q, κ = ``problem.loss.tail``. nan where v* is not known.
    """
    v, κ = problem.minimum_norm_value, problem.loss.tail or math.nan
    return v / (2 * κ), 2 * v / κ


def law_exponent(problem: Problem, name: str, *, centred: bool = False) -> float | None:
    """The exponent of one quantity as in ``law_exponents``, or None where no law is known."""
    return law_exponents(problem, centred=centred).get(name)


def _changes_if_centred(problem: Problem, laws: _Laws) -> _Laws:
    """Without the frozen mean row the raw rows are the centred ones."""
    changes: _Laws = {raw: laws[centred] for raw, centred in zip(_RAW_ROWS, _CENTRED_ROWS, strict=True)}
    # nc3_difference then differs from nc3_duality by weights only.
    changes |= {"nc0": None, "nc3_difference": laws["nc3_duality"], "nc3_product": None}
    if problem.balanced or problem.num_classes == 2:
        # Logits and bounds are exact to a higher order, which is not known.
        return {**changes, "gap": None}
    # The margins still differ by the logarithms of the multipliers, beside log t.
    return {**changes, "nc3_product": -1.0}
