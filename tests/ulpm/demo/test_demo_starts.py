"""The starts of the lecture are what their captions say."""

import math
from collections.abc import Callable

import pytest
import torch

import ulpm
from ulpm.demo.scenarios import flow_scenario
from ulpm.demo.starts import LECTURE, Start, images, narrow, own_start, saddle, solved
from ulpm.sample import first_images


@pytest.mark.parametrize("make", LECTURE)
def test_a_caption_is_a_sentence_that_fits_two_lines(make: Callable[[], Start]) -> None:
    start = make()
    assert start.problem.check(start.state) is start.state
    assert start.caption.endswith(".")
    assert 60 < len(start.caption) <= 185
    assert start.class_names is None or len(start.class_names) == start.problem.num_classes


@pytest.mark.usefixtures("unchecked")
def test_images_in_the_basis_of_their_span_flow_as_all_their_pixels_do() -> None:
    start = images()
    pixels, labels = ulpm.fashion_mnist_sample()
    kept = torch.cat([torch.arange(100 * k, 100 * k + 20) for k in range(10)])
    pixels = pixels[kept] / pixels[kept].square().sum(1).mean().sqrt()
    problem, state = ulpm.from_features(pixels, labels[kept], seed=0)
    whole = ulpm.gradient_flow(problem, state, log_time=0.5, records=3)
    reduced = ulpm.gradient_flow(start.problem, start.state, log_time=0.5, records=3)
    assert start.problem.feature_dim < problem.feature_dim
    for name, column in whole.columns().items():
        if not name.endswith("drift"):
            assert torch.allclose(column, reduced.columns()[name], rtol=1e-9, atol=1e-12), name


def test_the_saddle_is_one_and_the_start_is_beside_it_with_less_loss() -> None:
    start = saddle()
    at = ulpm.block_state(start.problem, norm=4.0)
    assert ulpm.sphere_critical_point(start.problem, at).kind == "strict_saddle"
    way = math.sqrt(float(ulpm.State(start.state.W - at.W, start.state.H - at.H).squared_norm))
    assert way == pytest.approx(0.2)
    assert ulpm.log_loss(start.problem, start.state) < ulpm.log_loss(start.problem, at)


@pytest.mark.usefixtures("unchecked")
def test_the_narrow_start_ends_in_an_octahedron() -> None:
    start = narrow()
    path = ulpm.gradient_flow(start.problem, start.state, log10_time=100, records=2)
    W = path.final_state.W
    cosines = (W / W.norm(dim=1, keepdim=True)) @ (W / W.norm(dim=1, keepdim=True)).T
    expected = torch.tensor([-1.0] + [0.0] * 4 + [1.0], dtype=torch.float64)
    assert torch.allclose(cosines.sort(1).values, expected.expand(6, 6), atol=0.02)


@pytest.mark.usefixtures("unchecked")
def test_the_solved_start_keeps_its_axes_and_its_box_becomes_a_cube() -> None:
    start = solved()
    path = ulpm.gradient_flow(start.problem, start.state, log10_time=100, rtol=start.rtol, records=9, snapshots=9)
    assert path.snapshots is not None
    corners = start.state.W.sign()
    edges = (path.snapshots.W * corners).mean(1, keepdim=True)
    assert torch.allclose(path.snapshots.W, edges * corners, atol=1e-9 * float(edges.max()))
    ratios = edges.amax(-1) / edges.amin(-1)
    assert float(ratios[0]) == pytest.approx(math.sqrt(12 / 0.5))
    assert bool((ratios.diff(dim=0) <= 1e-9).all())
    assert float(ratios[-1]) == pytest.approx(1, abs=1e-9)
    # Balanced, and with no variation within classes.
    assert torch.allclose(start.state.W.T @ start.state.W, start.state.H @ start.state.H.T)
    assert torch.equal(start.state.H[:, 0], start.state.H[:, 11])


@pytest.mark.parametrize(
    ("counts", "d", "word"),
    [([4] * 5, 4, "regular simplex"), ([9, 3], 2, "unequal counts"), ([4] * 5, 2, "do not fit")],
)
def test_the_caption_of_an_own_setting_fits_its_sizes(counts: list[int], d: int, word: str) -> None:
    assert word in own_start(ulpm.Problem(counts, d), seed=0).caption


def test_the_saddle_is_left_while_the_scene_seems_still() -> None:
    scenario = flow_scenario(saddle(), 30.0, frames=7)
    (distance,) = scenario.panels[1].curves
    heights = [height for height in distance.heights if height is not None]
    assert 10 ** heights[0] == pytest.approx(0.05, rel=0.02)
    assert heights == sorted(heights)


def test_the_pictures_of_the_images_are_the_first_of_each_class() -> None:
    pixels, labels = ulpm.fashion_mnist_sample()
    pictures = first_images()
    for k in range(10):
        assert torch.equal(pictures[k].flatten() / 255.0, pixels[labels == k][0].float())
