"""What is drawn is what the states are: projected without distortion, scaled by ρ, beside the shape to come."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

import ulpm
from ulpm.demo.view import closest_rotation, opposite_pairs, scene_of, shown_samples, target_state
from ulpm.geometry import principal_axes


def frames(*states: ulpm.State) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([state.W for state in states]), torch.stack([state.H for state in states])


@pytest.mark.parametrize(("counts", "d", "axes"), [([3] * 4, 3, 3), ([3] * 3, 2, 2), ([2] * 2, 5, 2), ([2] * 3, 1, 2)])
def test_axes_are_orthonormal_and_point_up_to_the_first_class(counts: list[int], d: int, axes: int) -> None:
    state = ulpm.Problem(counts, d).random_state(0)
    view = principal_axes(state.W, state.H)
    assert view.shape == (axes, d)
    if d >= axes:
        assert torch.allclose(view @ view.T, torch.eye(axes, dtype=torch.float64), atol=1e-12)
    across = view[:-1] @ state.W[0]
    if len(counts) > 2:
        assert across.abs().max() < 1e-12
        assert view[-1] @ state.W[0] > 0


def test_nothing_is_distorted_where_three_axes_are_enough() -> None:
    problem = ulpm.Problem([3] * 4, 3)
    state = problem.random_state(1)
    scene = scene_of(problem, *frames(state))
    scale = math.sqrt(2 * 4 / float(state.squared_norm))
    assert torch.allclose(torch.cdist(scene.rows[0], scene.rows[0]), scale * torch.cdist(state.W, state.W))


def test_the_scene_does_not_change_with_the_norm() -> None:
    problem = ulpm.Problem([3] * 4, 6)
    state = problem.random_state(1)
    scene = scene_of(problem, *frames(state, ulpm.State(state.W * 1e60, state.H * 1e60)))
    for drawn in (scene.rows, scene.means, scene.features):
        assert torch.allclose(drawn[0], drawn[1])


@pytest.mark.parametrize("counts", [[3] * 4, [5] * 3, [6, 3, 2]])
def test_the_optimum_turned_anyhow_lies_on_its_target(counts: list[int]) -> None:
    problem = ulpm.Problem(counts, 5)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0])
    optimum = ulpm.seli_state(problem, norm=7.0)
    turned = ulpm.State(optimum.W @ turn, turn.T @ optimum.H)
    scene = scene_of(problem, *frames(problem.random_state(0), turned))
    assert scene.target_rows is not None
    assert torch.allclose(scene.rows[1], scene.target_rows, atol=1e-10)
    assert torch.allclose(scene.means[1], scene.target_means, atol=1e-10)
    if problem.balanced:
        assert torch.allclose(scene.rows[1], scene.means[1], atol=1e-10)


def test_the_closest_rotation_is_that_of_scipy() -> None:
    a, b = (torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 4))) for seed in (0, 1))
    expected, _ = scipy.linalg.orthogonal_procrustes(a.numpy(), b.numpy())
    assert np.allclose(closest_rotation(a, b).numpy(), expected, atol=1e-10)


def test_means_are_means_of_all_samples_though_few_are_drawn() -> None:
    problem = ulpm.Problem([100, 3, 2], 2)
    state = problem.random_state(0)
    scene = scene_of(problem, *frames(state))
    assert scene.feature_classes.tolist() == [0] * 24 + [1] * 3 + [2] * 2
    drawn = scene.features[0][24:27].mean(0)
    assert torch.allclose(scene.means[0][1], drawn)
    assert not torch.allclose(scene.means[0][0], scene.features[0][:24].mean(0), atol=1e-3)


def test_many_classes_still_have_a_feature_each() -> None:
    assert len(shown_samples(ulpm.Problem([2] * 300, 4))) == 300


def test_the_octahedron_is_paired_as_the_run_is() -> None:
    problem = ulpm.Problem([2] * 6, 3)
    axes = torch.eye(3, dtype=torch.float64)
    W = torch.stack([axes[0], axes[1], -axes[0], axes[2], -axes[2], -axes[1]])
    assert {frozenset(pair) for pair in np.reshape(opposite_pairs(W), (3, 2)).tolist()} == {
        frozenset({0, 2}),
        frozenset({1, 5}),
        frozenset({3, 4}),
    }
    target = target_state(problem, W)
    assert target is not None
    scene = scene_of(problem, W[None], target.H[None])
    assert torch.allclose(target.W @ target.W.T, target.W[0].square().sum() * (W @ W.T), atol=1e-12)
    assert len(scene.edges) == 12
    assert float(ulpm.margin(problem, target)) > 0


def test_there_is_no_target_where_none_is_known() -> None:
    problem = ulpm.Problem([2] * 5, 2)
    scene = scene_of(problem, *frames(problem.random_state(0)))
    assert scene.target_rows is None
    assert scene.edges == ()
