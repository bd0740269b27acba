import math
import re

import numpy as np
import pytest
import torch

import ulpm
from ulpm import Problem, State


def one_sentence(message):
    """A capital or code start is not asked for; one full stop at the end and none inside, on one line."""
    text = str(message.value)
    assert "\n" not in text
    assert text.endswith(".")
    # A dot inside is a decimal point, a method such as .double(), a dotted name or an ellipsis in a shape.
    assert not re.search(r"[.!?]\s+[A-Z]", text), text
    assert len(text) < 250
    return text


BAD_PROBLEMS = {
    "one class": ([5], 3, ValueError, ["at least 2 classes", "got 1"]),
    "no classes": ([], 3, ValueError, ["at least 2 classes", "got 0"]),
    "a class without samples": ([3, 0, 2], 3, ValueError, [r"class_counts\[1\]", "at least 1", "0"]),
    "a negative count": ([3, -2], 3, ValueError, [r"class_counts\[1\]", "at least 1", "-2"]),
    "a float count": ([3, 2.0], 3, TypeError, [r"class_counts\[1\]", "integer", "2.0"]),
    "a bool count": ([3, True], 3, TypeError, [r"class_counts\[1\]", "integer", "True"]),
    "a string of counts": ("5x3", 3, TypeError, ["list of integers", "5x3"]),
    "a number of counts": (5, 3, TypeError, ["list of integers", "5"]),
    "no features": ([3, 2], 0, ValueError, ["feature_dim", "at least 1", "0"]),
    "a float dimension": ([3, 2], 4.0, TypeError, ["feature_dim", "integer", "4.0"]),
    "a bool dimension": ([3, 2], True, TypeError, ["feature_dim", "integer", "True"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("counts", "d", "error", "parts"), BAD_PROBLEMS.values(), ids=BAD_PROBLEMS.keys())
def test_a_problem_that_makes_no_sense_is_one_clear_sentence(counts, d, error, parts):
    with pytest.raises(error) as message:
        Problem(counts, d)
    for part in parts:
        assert re.search(part, one_sentence(message))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("decay", [1e-320, 1e-101, 1e100, 1e300, math.inf, math.nan, -1.0])
def test_a_decay_that_the_number_format_cannot_handle_is_one_clear_sentence(decay):
    with pytest.raises(
        ValueError, match=r"weight_decay\[1\] must be (0 or at least 1e-100|at least 0 and below 1e\+100)"
    ) as message:
        Problem([3, 2], 3, weight_decay=(0.1, decay))
    one_sentence(message)


ONES = torch.ones(2, 3, dtype=torch.float64), torch.ones(3, 4, dtype=torch.float64)
NAN = torch.full((2, 3), math.nan, dtype=torch.float64)
BAD_STATES = {
    "a list": ([[1.0]], ONES[1], TypeError, ["W must be a torch tensor", "list"]),
    "an array": (ONES[0], np.ones((3, 4)), TypeError, ["H must be a torch tensor", "ndarray"]),
    "integers": (torch.ones(2, 3, dtype=torch.int64), ONES[1], TypeError, ["W", "float32 or float64", "int64"]),
    "half precision": (ONES[0].half(), ONES[1], TypeError, ["W", "float32 or float64", "float16"]),
    "complex numbers": (ONES[0], ONES[1].cfloat(), TypeError, ["H", "float32 or float64", "complex64"]),
    "NaN": (NAN, ONES[1], ValueError, ["W must be finite"]),
    "infinity": (ONES[0], ONES[1] / 0, ValueError, ["H must be finite"]),
    "dimensions that differ": (ONES[0], ONES[1].T, ValueError, [r"H must have shape \[\.\.\., 3, ≥ 1\]", r"\[4, 3\]"]),
    "a vector": (ONES[0][0], ONES[1], ValueError, [r"W must have shape \[\.\.\., ≥ 1, ≥ 1\]", r"\[3\]"]),
    "an empty axis": (ONES[0][:, :0], ONES[1][:0], ValueError, ["W must have shape", r"\[2, 0\]"]),
    "replica axes that differ": (ONES[0][None], ONES[1], ValueError, ["leading", r"\[1\]", r"\[\]"]),
    "two precisions": (ONES[0].float(), ONES[1], ValueError, ["share dtype", "float32", "float64"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("W", "H", "error", "parts"), BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_makes_no_sense_is_one_clear_sentence(W, H, error, parts):
    with pytest.raises(error) as message:
        State(W, H)
    for part in parts:
        assert re.search(part, one_sentence(message))


BAD_STARTS = {
    "scale zero": ({"scale": 0}, ValueError, ["scale", "above 0", "0"]),
    "a negative scale": ({"scale": -1.5}, ValueError, ["scale", "above 0", "-1.5"]),
    "an infinite scale": ({"scale": math.inf}, ValueError, ["scale", "inf"]),
    "scale NaN": ({"scale": math.nan}, ValueError, ["scale", "nan"]),
    "a bool scale": ({"scale": True}, TypeError, ["scale must be a number", "True"]),
    "no replicas": ({"replicas": 0}, ValueError, ["replicas", "at least 1", "0"]),
    "a float of replicas": ({"replicas": 2.0}, TypeError, ["replicas must be an integer", "2.0"]),
    "a bool of replicas": ({"replicas": True}, TypeError, ["replicas must be an integer", "True"]),
    "a negative seed": ({"seed": -1}, ValueError, ["seed", "at least 0", "-1"]),
    "a float seed": ({"seed": 0.5}, TypeError, ["seed must be an integer", "0.5"]),
    "a bool seed": ({"seed": False}, TypeError, ["seed must be an integer", "False"]),
    "an unknown device": ({"device": "tpu9"}, ValueError, ["'tpu9'", "not available"]),
    "half precision": ({"dtype": torch.float16}, TypeError, ["float64 or torch.float32", "float16"]),
    "integers": ({"dtype": torch.int64}, TypeError, ["float64 or torch.float32", "int64"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("arguments", "error", "parts"), BAD_STARTS.values(), ids=BAD_STARTS.keys())
def test_a_start_that_makes_no_sense_is_one_clear_sentence(arguments, error, parts):
    with pytest.raises(error) as message:
        Problem([2, 3], 4).random_state(**arguments)
    for part in parts:
        assert re.search(part, one_sentence(message))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_one_clear_sentence():
    with pytest.raises(ValueError, match="'cuda' is not available here") as message:
        Problem([2, 3], 4).random_state(device="cuda")
    one_sentence(message)


FEATURES, LABELS = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), [0, 1, 2] * 2
LABELS = torch.tensor(LABELS)
BAD_FEATURES = {
    "a list": ([[1.0]], LABELS, None, TypeError, ["features must be a torch tensor", "list"]),
    "integers": (FEATURES.long(), LABELS, None, TypeError, ["features", "float32 or float64", "int64"]),
    "NaN": (FEATURES * math.nan, LABELS, None, ValueError, ["features must be finite"]),
    "images": (FEATURES[:, None], LABELS, None, ValueError, [r"\[N, d\]", r"\[6, 1, 3\]"]),
    "no feature": (FEATURES[:, :0], LABELS, None, ValueError, ["features must have shape", r"\[6, 0\]"]),
    "no sample": (FEATURES[:0], LABELS[:0], None, ValueError, ["features must have shape", r"\[0, 3\]"]),
    "float labels": (FEATURES, LABELS.double(), None, TypeError, ["labels", "integers", "float64"]),
    "bool labels": (FEATURES, LABELS > 0, None, TypeError, ["labels", "integers", "bool"]),
    "a list of labels": (FEATURES, LABELS.tolist(), None, TypeError, ["labels", "integers", "list"]),
    "too few labels": (FEATURES, LABELS[:5], None, ValueError, [r"labels must have shape \[6\]", r"\[5\]"]),
    "one-hot labels": (FEATURES, LABELS[:, None] * 1, None, ValueError, [r"labels must have shape \[6\]", r"\[6, 1\]"]),
    "labels from 1": (FEATURES, LABELS + 1, None, ValueError, ["class 0 has no samples", "renumber"]),
    "negative labels": (FEATURES, LABELS - 1, None, ValueError, ["labels must lie in 0 … 5", "-1 … 1"]),
    "a missing class": (FEATURES, LABELS * 2, None, ValueError, ["class 1 has no samples", "renumber"]),
    "one class": (FEATURES, LABELS * 0, None, ValueError, ["at least 2 classes"]),
    "zero features": (FEATURES * 0, LABELS, None, ValueError, ["features are all 0"]),
    "a wide classifier": (FEATURES, LABELS, FEATURES[:3].repeat(1, 2), ValueError, ["classifier must have shape", "6"]),
    "a tall classifier": (FEATURES, LABELS, FEATURES[:5], ValueError, ["class 3 has no samples", "classifier row"]),
    "a short classifier": (FEATURES, LABELS, FEATURES[:2], ValueError, ["labels must lie in 0 … 1", "0 … 2"]),
    "classifiers": (FEATURES, LABELS, FEATURES[None, :3], ValueError, ["classifier", r"\[1, 3, 3\]"]),
    "an integer classifier": (FEATURES, LABELS, FEATURES[:3].long(), TypeError, ["classifier", "int64"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("features", "labels", "classifier", "error", "parts"),
    [pytest.param(*case, id=name) for name, case in BAD_FEATURES.items()],
)
def test_features_that_make_no_sense_are_one_clear_sentence(features, labels, classifier, error, parts):
    with pytest.raises(error) as message:
        ulpm.from_features(features, labels, classifier)
    for part in parts:
        assert re.search(part, one_sentence(message))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [ulpm.log_loss, ulpm.margin])
def test_a_state_of_another_problem_is_one_clear_sentence(function):
    problem = Problem([2, 3], 4)
    with pytest.raises(ValueError, match=r"W must have shape \[\.\.\., 2, 4\].*\[3, 4\]") as message:
        function(problem, Problem([2, 2, 1], 4).random_state())
    one_sentence(message)
    with pytest.raises(ValueError, match=r"H must have shape \[\.\.\., 4, 5\].*\[4, 4\]"):
        function(problem, Problem([2, 2], 4).random_state())
    with pytest.raises(TypeError, match=r"must be an ulpm\.State, but a tuple was given"):
        function(problem, (ONES[0], ONES[1]))


def test_sizes_of_a_problem():
    problem = Problem((1, 3, 2), 7)
    assert (problem.num_classes, problem.num_samples, problem.feature_dim) == (3, 6, 7)
    assert problem.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert not problem.balanced
    assert Problem([4] * 3, 7).balanced
    assert Problem([1, 3, 2], 7) == problem
    assert hash(Problem([1, 3, 2], 7)) == hash(problem)


@pytest.mark.parametrize(("K", "n"), [(2, 1), (3, 5), (10, 50)])
def test_minimum_norm_value_of_balanced_classes_is_the_closed_form(K, n):
    assert Problem([n] * K, K - 1).minimum_norm_value == pytest.approx((K - 1) * math.sqrt(n), rel=1e-13)


def test_minimum_norm_value_of_unequal_classes():
    # Two independent facts: a published digit string for (40, 40, 4, 4), and K = 2, where the logits are
    # ±½ at the optimum, of rank one, so that the nuclear norm is ‖Z‖_F = √((n₁ + n₂)/2).
    assert Problem([40, 40, 4, 4], 8).minimum_norm_value == pytest.approx(13.014971, abs=1e-6)
    assert Problem([9, 2], 3).minimum_norm_value == pytest.approx(math.sqrt(11 / 2), rel=1e-13)


def test_minimum_norm_value_is_unknown_in_too_few_dimensions():
    assert math.isnan(Problem([3] * 4, 2).minimum_norm_value)
    assert not math.isnan(Problem([3] * 4, 3).minimum_norm_value)


def test_a_seed_means_the_same_start_in_every_precision():
    problem = Problem([3, 2], 5)
    double, single = (problem.random_state(seed=3, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert torch.equal(double.W.float(), single.W)
    assert torch.equal(double.H.float(), single.H)
    assert torch.equal(double.W, problem.random_state(seed=3).W)
    assert not torch.equal(double.W, problem.random_state(seed=4).W)


def test_random_entries_have_the_documented_spread():
    problem = Problem([500] * 4, 64)
    state = problem.random_state(seed=1, scale=3.0)
    # 64·2000 entries of standard deviation 3/8: their mean square is 9/64 within 5 standard errors √(2/128000).
    assert float(state.H.square().mean()) == pytest.approx(9 / 64, rel=5 * math.sqrt(2 / state.H.numel()))
    assert float(state.W.square().mean()) == pytest.approx(9 / 64, rel=5 * math.sqrt(2 / state.W.numel()))
    assert abs(float(state.H.mean())) < 5 * 3 / 8 / math.sqrt(state.H.numel())


def test_replicas_are_a_leading_axis_of_different_starts():
    state = Problem([3, 2], 5).random_state(replicas=4)
    assert state.batch_shape == (4,)
    assert (state.W.shape, state.H.shape) == ((4, 2, 5), (4, 5, 5))
    assert len({float(x) for x in state.W[:, 0, 0]}) == 4
    want = [float((state.W[b] ** 2).sum() + (state.H[b] ** 2).sum()) for b in range(4)]
    torch.testing.assert_close(state.squared_norm, torch.tensor(want, dtype=torch.float64), rtol=1e-14, atol=0)


def test_from_features_sorts_by_class_and_keeps_the_order_inside():
    features = torch.arange(12, dtype=torch.float32).reshape(6, 2)
    labels = torch.tensor([2, 0, 1, 0, 2, 2])
    classifier = torch.ones(3, 2, dtype=torch.float64)
    problem, state = ulpm.from_features(features, labels, classifier)
    assert problem == Problem([2, 1, 3], 2)
    assert torch.equal(state.H.T, features[[1, 3, 2, 0, 4, 5]])
    assert torch.equal(state.W, classifier.float())


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_from_features_draws_a_classifier_as_long_as_the_features(size):
    generator = torch.Generator().manual_seed(0)
    features = size * torch.randn(300, 400, generator=generator, dtype=torch.float64)
    _, state = ulpm.from_features(features, torch.arange(300) % 100, seed=5)
    rms = [float(x.square().sum(axis).mean().sqrt()) for x, axis in ((state.W, 1), (state.H, 0))]
    # 100·400 normal entries: the root mean square is right within 5 standard errors √(1/80000).
    assert rms[0] == pytest.approx(rms[1], rel=5 / math.sqrt(2 * state.W.numel()))
    again = ulpm.from_features(features, torch.arange(300) % 100, seed=5)[1]
    assert torch.equal(again.W, state.W)


@pytest.mark.parametrize("exponent", [-1050, -540, -535, 520, 1010])
def test_the_drawn_classifier_is_as_long_as_features_whose_squares_are_no_numbers(exponent):
    """Powers of two change no digit."""
    features = torch.randn(30, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(30) % 4
    expected = ulpm.from_features(features, labels, seed=5)[1].W
    # Two factors, as 2^−1050 is subnormal and has no reciprocal.
    half, other = 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)
    features = (features * half * other).contiguous()
    W = ulpm.from_features(features, labels, seed=5)[1].W
    torch.testing.assert_close(W / half / other, expected, rtol=1e-4 if exponent < -1000 else 1e-15, atol=1e-6)


def test_from_features_takes_images_of_the_sample():
    problem, state = ulpm.from_features(*ulpm.fashion_mnist_sample())
    assert problem == Problem([100] * 10, 784)
    assert math.isfinite(float(ulpm.log_loss(problem, state)))


@pytest.mark.parametrize(
    "dtype",
    [
        torch.uint8,
        torch.int32,
        torch.int64,
    ],
)
def test_from_features_takes_labels_of_any_integer_type(dtype):
    problem, state = ulpm.from_features(FEATURES, LABELS.to(dtype))
    assert problem == Problem([2, 2, 2], 3)
    assert state.W.dtype == torch.float64
