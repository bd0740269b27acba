"""Checks of the exercises: each computes the right answer with ulpm and compares; none is stored.

``check("angle", answer)`` prints whether an answer is right, with a hint if it is not. Answers are functions, so that
one answer is tried on several cases.
"""

import functools
import math

import torch

import ulpm

__all__ = ["EXERCISES", "check", "flow", "network"]


def check(exercise, answer):
    """Print whether the answer to an exercise is right, or a hint.

    Raises: KeyError for an exercise that is not there.
    """
    examine = EXERCISES[exercise]
    if answer is None:
        print("No answer yet.")
    elif not callable(answer):
        print("Not yet: your answer must be a function.")
    else:
        hint = _hint(examine, answer)
        print(f"Not yet: {hint}" if hint else "Right.")


def _hint(examine, answer):
    try:
        return examine(answer)
    except Exception as error:  # a mistake in the answer is a part of the lesson, and ends nothing
        return f"your function stopped with {type(error).__name__}: {error}"


@functools.cache
def flow():
    """A balanced flow to log t = 2·10⁵: K = 4 classes of n = 5 samples, d = 20."""
    problem = ulpm.Problem([5] * 4, feature_dim=20)
    return ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=2e5, records=120)


@functools.cache
def network():
    """Features [1000, 64], labels, classifier [10, 64] and the model of a small network, trained for 40 epochs."""
    torch.manual_seed(0)
    images, labels = ulpm.fashion_mnist_sample()
    images = images.float()
    layers = torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10, bias=False)
    model = torch.nn.Sequential(*layers)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.3)
    for _ in range(40):
        for batch in torch.randperm(len(images)).split(100):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
    with ulpm.probe(model) as seen, torch.no_grad():
        model(images)
    return seen.features.double(), labels, seen.classifier.double(), model


def close(found, right, tolerance=1e-6):
    """Whether two numbers agree to a relative tolerance."""
    return math.isclose(float(found), float(right), rel_tol=tolerance, abs_tol=1e-12)


def _angle(answer):
    for K in (2, 3, 4, 10):
        frame = ulpm.simplex_etf(K, feature_dim=K)
        cosine = max(-1.0, float(frame[0] @ frame[1]))
        found, right = answer(K), math.degrees(math.acos(cosine))
        if close(found, math.radians(right)):
            return "this is the angle in radians. Give degrees."
        if close(found, cosine):
            return "this is the cosine of the angle. Give the angle itself, in degrees."
        if not close(found, right, 1e-5):
            return f"for K = {K} the angle is not {float(found):.6g}°. The K unit vectors have the sum 0: square it."
    return None


def _dimension(answer):
    for K in (2, 3, 7):
        right = int(torch.linalg.matrix_rank(ulpm.simplex_etf(K, feature_dim=K + 2)))
        if answer(K) != right:
            return f"for K = {K} it is not {answer(K)}. Think of K = 2 and K = 3: a segment, a triangle."
    return None


def _spread(answer):
    problem = ulpm.Problem([6, 6, 6], feature_dim=4)
    state = problem.random_state(seed=1)
    H, labels = state.H, problem.labels
    found, right = answer(H, labels), ulpm.neural_collapse(state.W, H, labels)["nc1_ratio"]
    for factor, hint in (
        (6.0, "divide the sum within classes by N, not by the number of classes."),
        (1 / 6, "divide the sum between classes by K, not by N."),
        (3.0, "divide by K as well: Σ_B is a mean over the classes."),
        (1 / 3, "do not divide the sum within classes by K again."),
    ):
        if close(found, factor * right):
            return hint
    if close(found, 1 / right):
        return "this is the inverse: variation within classes is above the line."
    return None if close(found, right) else "the value differs. Subtract class means first, then their mean."


def _value(answer):
    for K, n in ((4, 12), (10, 50), (2, 1)):
        problem = ulpm.Problem([n] * K, feature_dim=K)
        right = ulpm.certify(problem, ulpm.collapsed_state(problem)).upper_bound
        found = answer(K, n)
        if close(found, K * math.sqrt(n)):
            return "this is the value of classes in blocks (the square, for K = 4), which is not the least one."
        if close(found, 1 / (2 * right)) and not close(found, right):
            return "this is the largest normalised margin γ* = 1/(2v*). Give v*."
        if not close(found, right):
            return f"for K = {K}, n = {n} the value is not {float(found):.6g}: try ½(‖W‖² + ‖H‖²) at margin 1."
    return None


def _unequal(answer):
    for counts in ([12] * 4, [40, 40, 4, 4], [9, 4, 1]):
        right = ulpm.minimum_norm_separation(ulpm.Problem(counts, feature_dim=4)).value
        found = answer(counts)
        if not close(found, right):
            mean = (len(counts) - 1) * math.sqrt(sum(counts) / len(counts))
            if close(found, mean):
                return "this is the balanced formula with the mean count: unequal counts cost less than that."
            return f"for counts {counts} the value is not {float(found):.6g}. Sum the singular values."
    return None


def _exponent(answer):
    from ulpm.laws import law_exponents

    path = flow()
    log_time = path.log_time[1:]
    for key in ("nc1_pinv", "nc1_ratio", "nc1_distance"):
        found, right = float(answer(log_time, path.metrics[key][1:])), law_exponents(path.problem)[key]
        if abs(found) < 0.02:
            return "this is a slope against t. The law is a power of log t, so plot against log(log t)."
        if abs(found - right) > 0.05:
            late = "Use only late records, such as log t > 1000." if abs(found - right) < 2.5 else "Check the sign."
            return f"for {key} you find {found:.3f}, which is not the power of late times. {late}"
    return None


def _certificate(answer):
    problem = ulpm.Problem([40, 40, 4, 4], feature_dim=3)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=8.0, records=2)
    for state in (problem.random_state(seed=3), path.final_state):
        found, right = answer(state.W, state.H, problem.labels), ulpm.certify(problem, state).lower_bound
        if not close(found, right):
            residual = torch.nn.functional.one_hot(problem.labels, 4).T - (state.W @ state.H).softmax(0)
            if close(found, right * torch.linalg.matrix_norm(residual, 2) / residual.norm()):
                return "you divide by the Frobenius norm. The dual has the largest singular value."
            return "the bound differs. R = Y − P has the columns y_i − softmax(W h_i)."
    return None


def _decay(answer):
    for K, n in ((3, 4), (4, 12)):
        threshold = float(answer(K, n))
        for factor, zero in ((0.99, False), (1.01, True)):
            decay = (factor * threshold, factor * threshold)
            best = ulpm.optimum(ulpm.Problem([n] * K, K, weight_decay=decay, reduction="mean"))
            if (float(best.logits.abs().max()) < 1e-9) != zero:
                where = "still not zero just above" if zero else "zero already just below"
                return f"for K = {K}, n = {n} the optimum is {where} {threshold:.6g}. When is q = 0 in the formula?"
    return None


def _minority(answer):
    for counts in ([30, 30, 3, 3], [50, 50, 5, 5]):
        threshold = float(answer(counts))
        for factor, together in ((0.9, False), (1.1, True)):
            decay = factor * threshold
            best = ulpm.regularised_optimum(ulpm.Problem(counts, feature_dim=4), decay, decay)
            a, b = best.state.W[2:]
            if (float((a - b).norm()) <= 1e-3 * float(best.state.W.norm())) != together:
                where = "still differ just above" if together else "are equal already just below"
                return f"for counts {counts} the minority rows {where} {threshold:.4g}. Compare √n/N with the decay."
    return None


def _mismatch(answer):
    features, labels, classifier, model = network()
    images, _ = ulpm.fashion_mnist_sample()
    right = ulpm.measure(model, [(images.float(), labels)])["nc4_mismatch"]
    found = answer(features, labels, classifier)
    if close(found, 1 - right):
        return "this is the share of samples on which both rules agree. Give the others."
    errors = (features @ classifier.T).argmax(1).ne(labels).double().mean()
    if close(found, errors) and not close(errors, right):
        return "this is the share of errors. Compare the two rules, not a rule and the labels."
    return None if abs(float(found) - float(right)) < 1e-9 else "the share differs. Distances are to class means."


EXERCISES = {
    "angle": _angle,
    "dimension": _dimension,
    "spread": _spread,
    "value": _value,
    "unequal": _unequal,
    "mismatch": _mismatch,
    "exponent": _exponent,
    "certificate": _certificate,
    "decay": _decay,
    "minority": _minority,
}
