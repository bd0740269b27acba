"""Integers and numbers of numpy are taken where Python's are, and truth values nowhere."""

import numpy as np
import pytest
import torch

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked")

KINDS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.intp, torch.tensor]


@pytest.mark.parametrize("kind", KINDS)
def test_integers_of_every_kind_are_python_s(kind):
    problem = ulpm.Problem([kind(3), kind(2), kind(2)], kind(4))
    plain = ulpm.Problem([3, 2, 2], 4)
    assert problem == plain
    assert hash(problem) == hash(plain)
    assert all(type(count) is int for count in (*problem.class_counts, problem.feature_dim))
    state = problem.random_state(seed=kind(5), replicas=kind(2))
    assert torch.equal(state.W, plain.random_state(5, replicas=2).W)
    assert torch.equal(ulpm.simplex_etf(kind(3), kind(4)), ulpm.simplex_etf(3, 4))
    found = ulpm.from_features(torch.eye(3), torch.tensor([1, 0, 1]), seed=kind(2))[1]
    assert torch.equal(found.W, ulpm.from_features(torch.eye(3), torch.tensor([1, 0, 1]), seed=2)[1].W)
    assert ulpm.ClassMoments(kind(3), kind(2)).counts.shape == (3,)


@pytest.mark.parametrize(
    "counts", [np.array([3, 2, 2]), torch.tensor([3, 2, 2]), list(np.bincount([0, 0, 0, 1, 1, 2, 2]))]
)
def test_class_counts_may_be_what_counting_gives(counts):
    assert ulpm.Problem(counts, 4) == ulpm.Problem([3, 2, 2], 4)


def test_runs_take_numpy_s_numbers_and_their_files_are_read_again(tmp_path):
    problem = ulpm.Problem([2, 1], 2)
    start = problem.random_state(np.int64(0), scale=np.float32(0.5))
    assert torch.equal(start.H, problem.random_state(0, scale=0.5).H)
    path = ulpm.gradient_flow(
        problem,
        start,
        log_time=np.float64(1),
        rtol=np.float32(0.01),
        records=np.int64(3),
        snapshots=np.int32(2),
        max_steps=np.int64(100),
    )
    path.save(tmp_path / "flow")
    assert ulpm.Trajectory.load(tmp_path / "flow").config["max_steps"] == 100
    path = ulpm.gradient_descent(
        problem, start, learning_rate=np.float32(0.5), momentum=np.float64(0), steps=np.int64(4), records=np.int64(3)
    )
    path.save(tmp_path / "descent")
    assert ulpm.Trajectory.load(tmp_path / "descent").config["steps"] == 4


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), torch.tensor(True), 2.0, np.float64(2), "2", None, np.array([2, 3])]
)
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(TypeError, match="feature_dim must be an integer"):
        ulpm.Problem([2, 2], value)
    with pytest.raises(TypeError, match=r"class_counts\[1\] must be an integer"):
        ulpm.Problem([2, value], 2)


@pytest.mark.parametrize("value", [True, np.bool_(False), torch.tensor(True), "1", 1j, [1.0]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="scale must be a number"):
        ulpm.Problem([2, 2], 2).random_state(scale=value)


def test_a_number_beyond_all_floats_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="scale must be above 0"):
        ulpm.Problem([2, 2], 2).random_state(scale=10**400)


@pytest.mark.parametrize(
    ("labels", "error", "sentence"),
    [
        ([0, 1, 2], TypeError, "it is list: use torch.as_tensor"),
        (np.array([0, 1, 2]), TypeError, "it is ndarray: use torch.as_tensor"),
        (torch.tensor([0.0, 1.0, 2.0]), TypeError, "it is float32: store class indices as int64"),
        (torch.tensor([1, 2, 3]), ValueError, "must lie in 0 … 2, but they lie in 1 … 3: renumber them from 0"),
        (torch.tensor([1, 2, 1]), ValueError, "class 0 has no samples, but all others have: renumber"),
        (torch.tensor([0, 2, 2]), ValueError, "class 1 has no samples"),
    ],
)
def test_labels_are_refused_with_the_cause(labels, error, sentence):
    with pytest.raises(error, match=sentence):
        ulpm.from_features(torch.eye(3), labels)


def test_numbers_that_are_not_finite_are_refused_without_the_advice_to_drop_them():
    with pytest.raises(ValueError, match="look for what made them, such as a training that diverged"):
        ulpm.State(torch.full((2, 2), torch.nan), torch.ones(2, 3))
