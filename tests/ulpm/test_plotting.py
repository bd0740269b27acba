import dataclasses
import math
import subprocess
import sys
import threading

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

import ulpm
from ulpm.metrics.collapse import METRICS
from ulpm.plotting import plot_collapse, plot_invariants, plot_loss, plot_margin, plot_metrics, save_figures

LN10 = math.log(10)
END = 400.0
PLOTS = (plot_metrics, plot_loss, plot_margin, plot_invariants)


def run(counts, d, log10_time=100.0, replicas=None, records=20, snapshots=0):
    problem = ulpm.Problem(counts, d)
    start = problem.random_state(seed=1, replicas=replicas)
    return ulpm.gradient_flow(problem, start, log10_time=log10_time, rtol=1e-4, records=records, snapshots=snapshots)


@pytest.fixture(scope="module")
def balanced():
    return run([4] * 3, 6, log10_time=END, records=60, snapshots=6)


@pytest.fixture(scope="module")
def replicated():
    return run([3] * 4, 5, log10_time=30.0, replicas=5, snapshots=3)


@pytest.fixture(scope="module")
def descent():
    problem = ulpm.Problem([4] * 3, 6)
    return ulpm.gradient_descent(problem, problem.random_state(seed=1), steps=200, records=30)


def of_sizes(path, counts, d):
    """The same records as those of a problem of other sizes: which theory is drawn depends on the sizes alone."""
    return dataclasses.replace(path, problem=ulpm.Problem(counts, d))


def panels(figure):
    """Axes by their titles, without the one that holds only a legend."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def is_dashed(line):
    return line.get_color() == "0.25"


def theory(axes):
    return [line for line in axes.lines if is_dashed(line)]


def data(axes):
    return [line for line in axes.lines if not is_dashed(line)]


def words(figure):
    """All text in the panels and legends of a figure."""
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return texts + [text.get_text() for legend in legends for text in [*legend.get_texts(), legend.get_title()]]


def assert_drawn(line, path, values):
    np.testing.assert_allclose(line.get_xdata(), path.log_time / LN10, rtol=1e-14)
    np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-12)


def slope(line):
    """d log y / d log log t along a line, from end to end."""
    x, y = np.log(line.get_xdata()), np.log(line.get_ydata())
    return (y[-1] - y[0]) / (x[-1] - x[0])


def drawn_laws(figure):
    return {name: slope(theory(axes)[0]) for name, axes in panels(figure).items() if theory(axes)}


def test_every_metric_is_drawn_as_it_was_recorded(balanced):
    shown = panels(plot_metrics(balanced))
    assert set(shown) == set(METRICS)
    for name, axes in shown.items():
        assert_drawn(data(axes)[0], balanced, balanced.metrics[name])


def test_laws_of_balanced_classes_have_the_stated_slopes_and_pass_through_the_last_record(balanced):
    figure = plot_metrics(balanced)
    cubic, linear = {"nc1_pinv"}, {"nc1_ratio", "nc1_cdnv", "nc2_norm_means", "nc2_angle_means", "nc2_etf_means"}
    expected = {name: -3.0 if name in cubic else -1.0 if name in linear else -0.5 for name in METRICS}
    del expected["nc4_mismatch"]
    assert drawn_laws(figure) == pytest.approx(expected)
    for name in expected:
        law = theory(panels(figure)[name])[0]
        assert law.get_xdata()[-1] == pytest.approx(END)
        assert law.get_ydata()[-1] == pytest.approx(float(balanced.metrics[name][-1]))


def test_late_records_follow_the_drawn_laws(balanced):
    figure = plot_metrics(balanced)
    late = balanced.log_time > 300
    x = torch.log(balanced.log_time[late])
    for name, exponent in drawn_laws(figure).items():
        y = torch.log(balanced.metrics[name][late])
        # Corrections are of relative order 1/log t; those of nc1_pinv are three times as large.
        assert float((y[-1] - y[0]) / (x[-1] - x[0])) == pytest.approx(exponent, rel=0.06), name


@pytest.mark.parametrize(
    ("counts", "d", "expected"),
    [
        ((4, 2), 4, {"nc0": -0.5, "nc1_pinv": -2.0, "nc3_difference": -0.5}),
        ((4, 2, 1), 5, {"nc0": -0.5, "nc1_pinv": -2.0, "nc3_difference": 0.0}),
        ((2, 2, 2, 2), 2, {"nc0": -0.5}),
        ((5, 2, 2, 2), 2, {"nc0": -0.5}),
    ],
    ids=["two unequal", "unequal counts", "d < K - 1", "unequal counts and d < K - 1"],
)
def test_only_laws_that_theory_states_are_drawn(balanced, counts, d, expected):
    assert drawn_laws(plot_metrics(of_sizes(balanced, counts, d))) == pytest.approx(expected, abs=1e-12)


def test_where_features_have_no_frozen_part_no_law_of_within_class_variability_is_drawn(balanced):
    laws = drawn_laws(plot_metrics(of_sizes(balanced, [4] * 3, 2)))
    assert set(laws) == set(METRICS) - {"nc1_pinv", "nc1_ratio", "nc1_cdnv", "nc4_mismatch"}


def test_metrics_of_two_classes_that_vanish_identically_say_so_and_have_no_law():
    figure = plot_metrics(run([3, 3], 4, log10_time=20.0))
    vanishing = {"nc2_norm_means", "nc2_angle_means", "nc2_etf_means"}
    assert all("zero" in panels(figure)[name].texts[0].get_text() for name in vanishing)
    assert set(drawn_laws(figure)) == set(METRICS) - vanishing - {"nc4_mismatch"}


def test_a_run_that_ends_before_the_laws_begin_shows_none(balanced):
    figure = plot_metrics(dataclasses.replace(balanced, log_time=balanced.log_time * (0.5 / END)))
    assert drawn_laws(figure) == {}
    assert not any("law" in text for text in words(figure))


def test_chosen_metrics_are_drawn_in_their_order_and_an_unknown_one_is_an_error(balanced):
    assert list(panels(plot_metrics(balanced, names=["nc4_mismatch", "nc0"]))) == ["nc4_mismatch", "nc0"]
    with pytest.raises(ValueError, match=r"names must be among nc0, .* but nc9 was given\."):
        plot_metrics(balanced, names=["nc0", "nc9"])
    with pytest.raises(ValueError, match="but none was given"):
        plot_metrics(balanced, names=[])


def test_the_metric_that_becomes_zero_has_a_linear_axis(balanced):
    shown = panels(plot_metrics(balanced, names=["nc0", "nc4_mismatch"]))
    assert (shown["nc0"].get_yscale(), shown["nc4_mismatch"].get_yscale()) == ("log", "linear")


def test_records_are_evenly_spaced_on_the_time_axis_from_t_0_at_its_left_edge(balanced):
    axes = panels(plot_metrics(balanced, names=["nc0"]))["nc0"]
    pixels = axes.transData.transform(np.stack([balanced.log_time / LN10, np.ones(len(balanced.log_time))], 1))[:, 0]
    steps = np.diff(pixels)
    assert np.ptp(steps) < 1e-4 * steps.mean()
    left, right = axes.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    assert abs(pixels[0] - left) < 1e-3 * (right - left)
    assert pixels[-1] == pytest.approx(right)


@pytest.mark.parametrize("end", [-5.0, -0.5, 0.3, 2.0, 50.0, 1e3, 1e6])
def test_the_time_axis_has_a_few_ticks_whatever_the_end(balanced, end):
    late = dataclasses.replace(balanced, log_time=balanced.log_time - balanced.log_time[-1] + end * LN10)
    axes = panels(plot_metrics(late, names=["nc0"]))["nc0"]
    low, high = axes.get_xlim()
    assert high == pytest.approx(end)
    assert 2 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 9


def test_the_loss_is_drawn_beside_its_law(balanced):
    left = plot_loss(balanced).axes[0]
    (law,), (line,) = [[line for line in left.lines if (line.get_color() == "black") == dark] for dark in (True, False)]
    assert_drawn(line, balanced, balanced.log_loss / LN10)
    log_time = law.get_xdata() * LN10
    v = 2 * math.sqrt(4)  # (K − 1)√n
    np.testing.assert_allclose(law.get_ydata() * LN10, np.log(v / 2) - log_time - np.log(log_time), rtol=1e-12)
    assert (law.get_xdata()[0], law.get_xdata()[-1]) == pytest.approx((1.0, END))


def test_loss_and_norm_over_their_asymptotics_are_drawn_beside_one(balanced):
    right = plot_loss(balanced).axes[1]
    loss, norm = data(right)
    v, log_time = 2 * math.sqrt(4), balanced.log_time
    late = (log_time >= 1).numpy()
    np.testing.assert_allclose(
        loss.get_ydata()[late], (torch.exp(balanced.log_loss + log_time) * log_time * 2 / v)[late]
    )
    np.testing.assert_allclose(norm.get_ydata()[late], (balanced.squared_norm / log_time / (2 * v))[late])
    assert np.isnan(loss.get_ydata()[~late]).all()
    assert list(theory(right)[0].get_ydata()) == [1.0, 1.0]
    assert loss.get_marker() != norm.get_marker()


def test_the_margin_is_drawn_beside_its_largest_value(balanced):
    left, right = plot_margin(balanced).axes
    assert_drawn(data(left)[0], balanced, balanced.margin / balanced.squared_norm)
    assert theory(left)[0].get_ydata() == pytest.approx([1 / (4 * math.sqrt(4))] * 2)
    assert_drawn(data(right)[0], balanced, 1 - 4 * math.sqrt(4) * balanced.margin / balanced.squared_norm)
    assert slope(theory(right)[0]) == pytest.approx(-1.0)


def test_without_a_known_optimum_loss_and_margin_are_drawn_alone_and_say_so(balanced):
    path = of_sizes(balanced, [3] * 4, 2)
    figure = plot_margin(path)
    assert len(figure.axes) == 1
    assert not theory(figure.axes[0])
    assert any("not known" in text for text in words(figure))
    figure = plot_loss(path)
    assert not any(theory(axes) for axes in figure.axes)
    assert len(figure.axes[0].lines) == 1
    assert any("not known" in text for text in words(figure))


def test_both_drifts_are_drawn_beside_the_tolerance_of_the_run(balanced, descent):
    for axes, name in zip(plot_invariants(balanced).axes, ("balancedness", "classifier_sum"), strict=True):
        assert_drawn(data(axes)[0], balanced, balanced.invariant_drift[name])
        assert axes.get_yscale() == "log"
        assert list(theory(axes)[0].get_ydata()) == [1e-4, 1e-4]
    assert not any(theory(axes) for axes in plot_invariants(descent).axes)


def test_drifts_that_are_exactly_zero_are_drawn_as_zero(balanced):
    zero = {name: torch.zeros_like(values) for name, values in balanced.invariant_drift.items()}
    figure = plot_invariants(dataclasses.replace(balanced, invariant_drift=zero))
    figure.draw_without_rendering()
    assert words(figure).count("zero at every record") == 2


def test_runs_laid_over_each_other_differ_in_line_style_and_are_named_by_method(balanced, descent):
    for plot in PLOTS:
        figure = plot(balanced, descent, balanced)
        styles = {line.get_linestyle() for axes in figure.axes for line in data(axes) if line.get_color() != "black"}
        assert len(styles) >= 3, plot
        names = ["gradient flow (1)", "gradient descent", "gradient flow (2)"]
        assert [text for text in words(figure) if text in names] == names


def test_titles_state_sizes_and_method(balanced, replicated, descent):
    assert plot_loss(balanced).get_suptitle().endswith("$K$ = 3, $n$ = 4, $d$ = 6 · gradient flow")
    assert plot_loss(balanced, descent).get_suptitle().endswith("gradient flow and gradient descent")
    assert "5 replicas" in plot_margin(replicated).get_suptitle()
    assert plot_collapse(replicated, replica=2).get_suptitle().endswith("replica 2")
    assert "$n$ = (4, 2, 1)" in plot_loss(of_sizes(balanced, [4, 2, 1], 3)).get_suptitle()
    assert "$n$ = 1 to 2" in plot_loss(of_sizes(balanced, [2] * 8 + [1], 9)).get_suptitle()


def test_replicas_are_drawn_as_their_median_and_a_band_from_least_to_greatest(replicated):
    axes = panels(plot_metrics(replicated, names=["nc0"]))["nc0"]
    values = replicated.metrics["nc0"].numpy()
    np.testing.assert_allclose(data(axes)[0].get_ydata(), np.median(values, axis=1))
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == values.min()
    assert corners[:, 1].max() == values.max()


def test_records_that_a_replica_did_not_reach_do_not_count(replicated):
    def cut(values):
        values = values.clone()
        values[12:, 0] = torch.nan
        return values

    short = dataclasses.replace(
        replicated,
        log_time=cut(replicated.log_time),
        metrics={name: cut(values) for name, values in replicated.metrics.items()},
    )
    line = data(panels(plot_metrics(short, names=["nc0"]))["nc0"])[0]
    np.testing.assert_allclose(line.get_ydata()[12:], np.median(replicated.metrics["nc0"][12:, 1:], axis=1))
    np.testing.assert_allclose(line.get_xdata(), replicated.log_time[:, 1] / LN10)


def test_a_single_record_and_undefined_metrics_are_drawn_without_complaint():
    problem = ulpm.Problem([2] * 3, 4)
    zeros = ulpm.State(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, 6, dtype=torch.float64))
    path = ulpm.gradient_flow(problem, zeros, log10_time=5.0, records=5, snapshots=2)
    for plot in (*PLOTS, plot_collapse):
        plot(path).draw_without_rendering()
    assert "not defined at any record" in words(plot_metrics(path))
    assert any("from" in text for text in words(plot_loss(path)))


def positions(marks):
    return np.stack([np.asarray(x) for x in getattr(marks, "_offsets3d", marks.get_offsets().T)], 1)


def class_means(axes):
    """Positions of the large markers, those of the class means."""
    marks = [c for c in axes.collections if isinstance(c, PathCollection) and c.get_sizes()[0] > 50]
    return np.concatenate([positions(mark) for mark in marks])


@pytest.mark.parametrize(("counts", "d", "dim"), [((3, 3), 4, 2), ((4, 4, 4), 6, 2), ((3, 3, 3, 3), 5, 3)])
def test_collapsed_classes_are_seen_as_a_regular_simplex_with_class_0_upwards(counts, d, dim):
    figure = plot_collapse(run(counts, d, log10_time=50.0, snapshots=6))
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title() == "$t$ = 0"
    means = class_means(figure.axes[-1])
    assert means.shape == (len(counts), dim)
    lengths = np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(lengths, lengths.mean(), rtol=0.1)
    cosines = (means @ means.T / lengths[:, None] / lengths)[~np.eye(len(counts), dtype=bool)]
    np.testing.assert_allclose(cosines, -1 / (len(counts) - 1), atol=0.1)
    assert means[0, -1] > 0.97 * lengths[0]


def test_the_picture_does_not_depend_on_a_rotation_of_feature_space(balanced):
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    snapshots = balanced.snapshots
    turned = ulpm.Snapshots(snapshots.records, snapshots.W @ rotation, rotation.T @ snapshots.H)
    pictures = [plot_collapse(path) for path in (balanced, dataclasses.replace(balanced, snapshots=turned))]
    for before, after in zip(pictures[0].axes, pictures[1].axes, strict=True):
        np.testing.assert_allclose(class_means(after), class_means(before), atol=1e-9)


def test_classes_differ_in_colour_and_marker():
    figure = plot_collapse(run([2] * 6, 6, log10_time=2.0, records=5, snapshots=1))
    marks = [c for c in figure.axes[0].collections if isinstance(c, PathCollection) and c.get_sizes()[0] > 50]
    assert len({matplotlib.colors.to_hex(mark.get_facecolor()[0]) for mark in marks}) == 6
    assert len({mark.get_paths()[0].vertices.tobytes() for mark in marks}) == 6
    assert [text for text in words(figure) if text.startswith("class ")][-1] == "class 5"


def test_many_features_are_thinned_out_and_many_classes_are_not_named():
    for counts in ([5000, 5000], [4] * 30):
        problem = ulpm.Problem(counts, 8)
        start = problem.random_state()
        path = run([2] * 3, 8, log10_time=0.1, records=2, snapshots=2)
        snapshots = ulpm.Snapshots(torch.tensor([0]), start.W[None], start.H[None])
        figure = plot_collapse(dataclasses.replace(path, problem=problem, snapshots=snapshots))
        dots = [c for c in figure.axes[0].collections if isinstance(c, PathCollection) and c.get_sizes()[0] < 50]
        assert sum(len(positions(c)) for c in dots) <= 600
        assert ("class 0" in words(figure)) == (len(counts) <= 20)


def test_one_dimensional_features_have_a_picture_too():
    plot_collapse(run([2] * 3, 1, log10_time=1.0, records=5, snapshots=2)).draw_without_rendering()


def test_snapshots_that_were_not_reached_are_left_out(replicated):
    W, H = replicated.snapshots.W.clone(), replicated.snapshots.H.clone()
    W[2, 1], H[2, 1] = torch.nan, torch.nan
    cut = dataclasses.replace(replicated, snapshots=ulpm.Snapshots(replicated.snapshots.records, W, H))
    assert [len(plot_collapse(cut, replica=b).axes) for b in (0, 1)] == [3, 2]


def test_without_snapshots_the_error_says_how_to_get_some(balanced, replicated):
    with pytest.raises(ValueError, match=r"^the trajectory has no snapshots to draw: ask for some with gradient_flow"):
        plot_collapse(dataclasses.replace(balanced, snapshots=None))
    with pytest.raises(ValueError, match="replica must be between 0 and 4, but 5 was given"):
        plot_collapse(replicated, replica=5)
    with pytest.raises(ValueError, match="replica must be between 0 and 0"):
        plot_collapse(balanced, replica=1)


def test_files_are_complete_pictures_and_nothing_else_is_left(replicated, tmp_path):
    three = {name: replicated.metrics[name] for name in ("nc0", "nc1_pinv", "nc4_mismatch")}
    files = save_figures(dataclasses.replace(replicated, metrics=three), tmp_path / "new" / "figures")
    assert [file.name for file in files] == [
        f"{n}.png" for n in ("metrics", "loss", "margin", "invariants", "collapse")
    ]
    assert sorted(files) == sorted((tmp_path / "new" / "figures").iterdir())
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG\r\n")
        pixels = (255 * matplotlib.image.imread(file)[..., :3]).astype(int) @ [1, 256, 256**2]
        assert pixels.size > 500_000
        assert len(np.unique(pixels)) > 50
        assert 0.5 < (pixels == 256**3 - 1).mean() < 0.99


@pytest.fixture
def small(balanced, monkeypatch):
    """A run without snapshots; all its figures but that of the loss are empty, and so quickly written."""
    for name in ("metrics", "margin", "invariants"):
        monkeypatch.setattr(f"ulpm.plotting.files.plot_{name}", lambda path, **_: Figure())
    return dataclasses.replace(balanced, snapshots=None)


def test_without_snapshots_the_other_figures_are_written_the_same_each_time(small, tmp_path):
    first, second = (save_figures(small, tmp_path / name, formats=["svg", "pdf"]) for name in "ab")
    assert [file.name for file in first[::2]] == ["metrics.svg", "loss.svg", "margin.svg", "invariants.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert b"CreationDate" not in one.read_bytes()


def test_an_unknown_format_is_an_error_before_anything_is_written(balanced, tmp_path):
    for formats in (["png", "bmpp"], "png"):
        with pytest.raises(ValueError, match=r"formats must be a list of .*png"):
            save_figures(balanced, tmp_path, formats=formats)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_os_error(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not be written"):
        save_figures(small, tmp_path / "file")


def test_figures_can_be_made_in_threads(balanced):
    done = []
    threads = [threading.Thread(target=lambda: done.append(plot_loss(balanced))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(figure) for figure in done}) == 3


def test_plotting_leaves_pyplot_and_global_settings_alone(tmp_path):
    script = """
import dataclasses, sys, matplotlib, ulpm
from ulpm.plotting import save_figures
before = matplotlib.rcParams.copy()
problem = ulpm.Problem([2] * 4, 4)
path = ulpm.gradient_flow(problem, problem.random_state(), log10_time=1.0, rtol=1e-3, records=5, snapshots=2)
save_figures(dataclasses.replace(path, metrics={"nc0": path.metrics["nc0"]}), sys.argv[1], formats=["svg"])
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
