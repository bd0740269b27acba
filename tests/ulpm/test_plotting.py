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
from mpl_toolkits.mplot3d import proj3d

import ulpm
from ulpm.metrics.records import METRICS
from ulpm.plotting import (
    plot_certificate,
    plot_collapse,
    plot_invariants,
    plot_loss,
    plot_margin,
    plot_metrics,
    save_figures,
)
from ulpm.plotting.laws import measured_exponent
from ulpm.plotting.style import number, runs

LN10 = math.log(10)

pytestmark = pytest.mark.usefixtures("unchecked_module")

END = 400.0
PLOTS = (plot_metrics, plot_loss, plot_margin, plot_invariants, plot_certificate)


def run(counts, d, log10_time=100.0, replicas=None, records=20, snapshots=0, rtol=1e-4):
    problem = ulpm.Problem(counts, d)
    start = problem.random_state(seed=1, replicas=replicas)
    return ulpm.gradient_flow(problem, start, log10_time=log10_time, rtol=rtol, records=records, snapshots=snapshots)


@pytest.fixture(scope="module")
def balanced():
    return run([4] * 3, 6, log10_time=END, records=60, snapshots=6, rtol=1e-7)


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


def is_theory(line):
    return line.get_linewidth() < 1.8


def theory(axes):
    return [line for line in axes.lines if is_theory(line)]


def data(axes):
    return [line for line in axes.lines if not is_theory(line)]


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
    cubic, linear = {"nc1_pinv"}, {"nc1_ratio", "nc1_cdnv", "nc3_duality"}
    linear |= {name for name in METRICS if name.startswith("nc2") and name.endswith(("_means", "_centered"))}
    expected = {name: -3.0 if name in cubic else -1.0 if name in linear else -0.5 for name in METRICS}
    del expected["nc4_mismatch"]
    assert drawn_laws(figure) == pytest.approx(expected)
    for name in expected:
        law = theory(panels(figure)[name])[0]
        assert law.get_xdata()[-1] == pytest.approx(END)
        assert law.get_ydata()[-1] == pytest.approx(float(balanced.metrics[name][-1]))


def test_late_records_follow_the_drawn_laws():
    # The smallest metric is nc1_pinv, about 1e-10, and asks for more than rtol 1e-4.
    balanced = run([4] * 3, 6, log10_time=END, records=60, rtol=1e-6)
    figure = plot_metrics(balanced)
    late = balanced.log_time > 300
    x = torch.log(balanced.log_time[late])
    for name, exponent in drawn_laws(figure).items():
        y = torch.log(balanced.metrics[name][late])
        # Corrections are of relative order 1/log t; those of nc1_pinv are three times as large.
        assert float((y[-1] - y[0]) / (x[-1] - x[0])) == pytest.approx(exponent, rel=0.06), name


WITHIN_UNEQUAL = {"nc1_pinv": -2.0, "nc1_ratio": -1.0, "nc1_cdnv": -1.0, "nc1_distance": -0.5}
TWO_CLASSES = dict.fromkeys(("nc0", "nc2_norm_classifier", "nc2_etf_classifier", "nc3_difference", "nc3_product"), -0.5)
TWO_CLASSES |= {"nc2_angle_classifier": -1.0}
NO_SIMPLEX = {"nc0": -0.5, "nc3_product": -0.5, "nc3_difference": 0.0, "nc3_duality": 0.0}
NO_SIMPLEX |= {name: 0.0 for name in METRICS if name.startswith("nc2")}


@pytest.mark.parametrize(
    ("counts", "d", "expected"),
    [
        ((4, 2), 4, {**WITHIN_UNEQUAL, **TWO_CLASSES, "nc3_duality": -0.5}),
        ((4, 4), 4, {**WITHIN_UNEQUAL, **TWO_CLASSES, "nc1_pinv": -3.0, "nc3_duality": -1.0}),
        ((4, 2, 1), 5, {**WITHIN_UNEQUAL, **NO_SIMPLEX}),
        ((4, 2, 1), 2, {**NO_SIMPLEX}),
        ((2, 2, 2, 2), 2, {"nc0": -0.5}),
        ((5, 2, 2, 2), 2, {"nc0": -0.5}),
    ],
    ids=[
        "two unequal",
        "two equal",
        "unequal counts",
        "unequal counts and d = K - 1",
        "d < K - 1",
        "unequal counts and d < K - 1",
    ],
)
def test_only_laws_that_theory_states_are_drawn(balanced, counts, d, expected):
    assert drawn_laws(plot_metrics(of_sizes(balanced, counts, d))) == pytest.approx(expected, abs=1e-12)


def test_where_features_have_no_frozen_part_no_law_of_within_class_variability_is_drawn(balanced):
    laws = drawn_laws(plot_metrics(of_sizes(balanced, [4] * 3, 2)))
    assert set(laws) == {name for name in METRICS if not name.startswith("nc1")} - {"nc4_mismatch"}


def test_a_run_whose_rows_sum_to_zero_is_drawn_beside_the_laws_of_such_starts(balanced):
    start = balanced.problem.random_state(seed=1)
    centred = ulpm.State(start.W - start.W.mean(0), start.H)
    path = ulpm.gradient_flow(balanced.problem, centred, log10_time=100.0, rtol=1e-4, records=40)
    laws, generic = drawn_laws(plot_metrics(path)), drawn_laws(plot_metrics(balanced))
    raw = {"nc2_norm_classifier", "nc2_angle_classifier", "nc2_etf_classifier", "nc3_difference"}
    assert {name: laws[name] for name in raw} == pytest.approx(dict.fromkeys(raw, -1.0))
    assert set(generic) - set(laws) == {"nc0", "nc3_product"}
    assert {name: laws[name] for name in set(laws) - raw} == pytest.approx({n: generic[n] for n in set(laws) - raw})


def with_metric(path, values):
    return dataclasses.replace(path, metrics={"nc1_pinv": values})


def notes(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_panel_states_the_measured_late_exponent_beside_that_of_the_law(balanced):
    shown = panels(plot_metrics(balanced))
    log_time = balanced.log_time.numpy()
    late = np.flatnonzero(log_time > 10)
    late = late[-(len(late) // 3) :]
    for name, values in balanced.metrics.items():
        if name == "nc4_mismatch":
            assert not shown[name].texts
            continue
        slope, _ = np.polyfit(np.log(log_time[late]), np.log(values.numpy()[late]), 1)
        law, measured = shown[name].texts[0].get_text().split("\n")
        assert law.startswith("$\\propto")
        assert measured == f"measured −{-slope:.2f}"
    assert any(text.startswith("measured: exponent of") for text in words(plot_metrics(balanced)))
    assert notes(plot_margin(balanced))[0].startswith("$\\propto(\\log t)^{-1}$\nmeasured −")


@pytest.mark.parametrize(("exponent", "shown"), [(-2.0, "−2.00"), (-0.001, "0.00"), (0.5, "0.50")])
def test_the_measured_exponent_is_that_of_the_run_and_not_that_of_the_law(balanced, exponent, shown):
    values = balanced.log_time.clamp(min=1.0) ** exponent
    values[-4::2] = 0.0  # a zero has no logarithm
    assert notes(plot_metrics(with_metric(balanced, values))) == [f"$\\propto(\\log t)^{{-3}}$\nmeasured {shown}"]


def test_no_exponent_is_measured_early_or_below_the_floor(balanced):
    early = dataclasses.replace(balanced, log_time=balanced.log_time * (10 / (END * LN10)))
    below = balanced.log_time.clamp(min=1.0) ** -3.0
    below[-30:] *= 0.9 * float(balanced.floors["nc1_pinv"][-1]) / float(below[-30])
    for path in (early, with_metric(balanced, below)):
        assert not any("measured" in text for text in words(plot_metrics(path)))
    resolved = words(plot_metrics(with_metric(balanced, 1e6 * below)))
    assert any("measured" in text for text in resolved)


def replicas_that_fall(balanced, factors, ends=None):
    """A run whose replicas are factors·(log t)^−2, and each of which ends with the record of ``ends``."""
    log_time = balanced.log_time[:, None].repeat(1, len(factors))
    for replica, end in enumerate(ends or []):
        log_time[end:, replica] = torch.nan
    path = dataclasses.replace(balanced, log_time=log_time)
    return runs([path])[0], torch.tensor(factors) * log_time.clamp(min=1.0) ** -2.0


@pytest.mark.parametrize("factors", [[1.0, 2.0, 4.0, 8.0, 16.0], [1.0, 2.0, 4.0, 8.0]], ids=["odd", "even"])
@pytest.mark.parametrize("sunk", [0, 1, 2])
def test_replicas_that_sink_below_the_floor_do_not_bend_the_exponent_of_the_median(balanced, factors, sunk):
    replicated, values = replicas_that_fall(balanced, factors)
    floor = torch.full_like(values, float(values[-5, sunk]))  # the smallest sink in the midst of the late records
    assert measured_exponent(replicated, values, floor) == pytest.approx(-2.0, abs=1e-12)


def test_no_exponent_is_measured_where_the_middle_replica_is_below_a_floor(balanced):
    replicated, values = replicas_that_fall(balanced, [1.0, 2.0, 3.0, 1e3, 1e3])
    floor = torch.full_like(values, float(values[-20, 2]))
    assert measured_exponent(replicated, values, floor) is None


def test_replicas_that_end_early_do_not_bend_the_exponent_of_those_that_remain(balanced):
    replicated, values = replicas_that_fall(balanced, [1.0, 2.0, 4.0, 8.0, 16.0], ends=[-8, -4, 60, 60, 60])
    assert measured_exponent(replicated, values) == pytest.approx(-2.0, abs=1e-12)


def test_what_is_below_its_floor_is_shaded_and_the_legend_says_so(balanced):
    floor = float(balanced.floors["nc1_pinv"][-1])
    sinking = balanced.log_time.clamp(min=1.0) ** -3.0
    sinking[-5:] = 0.1 * floor
    figure = plot_metrics(with_metric(balanced, sinking))
    (axes,) = panels(figure).values()
    (shade,) = axes.collections
    assert shade.get_paths()[0].vertices[:, 1].max() == pytest.approx(floor, rel=1e-6)
    assert any(text.startswith("below the floor") for text in words(figure))
    assert not any(text.startswith("below the floor") for text in words(plot_metrics(balanced)))
    assert all(not axes.collections for axes in panels(plot_metrics(balanced)).values())


def test_the_gap_of_bounds_is_shaded_below_its_floor(balanced):
    closed = dataclasses.replace(
        balanced.certificate, nuclear_upper_bound=balanced.certificate.lower_bound * (1 + 1e-9)
    )
    figure = plot_certificate(dataclasses.replace(balanced, certificate=closed))
    assert any(text.startswith("below the floor") for text in words(figure))
    assert not any("measured" in text for text in words(figure))


def test_a_metric_that_vanishes_in_the_first_run_alone_has_neither_law_nor_exponent_there(balanced):
    zero = with_metric(balanced, torch.full_like(balanced.log_time, 1e-16))
    assert notes(plot_metrics(zero, balanced)) == []
    assert drawn_laws(plot_metrics(zero, balanced)) == {}


def test_metrics_of_two_classes_that_vanish_identically_say_so_and_have_no_law():
    figure = plot_metrics(run([3, 3], 4, log10_time=20.0))
    vanishing = {name for name in METRICS if name.startswith("nc2") and name.endswith(("_means", "_centered"))}
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
        assert list(theory(axes)[0].get_ydata()) == [1e-7, 1e-7]
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


@pytest.fixture
def other(balanced):
    """A run of another problem, whose v* is known too."""
    return of_sizes(balanced, [9] * 4, 5)


@pytest.fixture
def unknown(balanced):
    """A run of a problem whose v* is not known."""
    return of_sizes(balanced, [3] * 4, 2)


SIZES, OTHER, UNKNOWN = (f"$K$ = {K}, $n$ = {n}, $d$ = {d}" for K, n, d in ((3, 4, 6), (4, 9, 5), (4, 3, 2)))


def test_where_problems_differ_titles_list_them_and_labels_tell_whose_they_are(balanced, other, unknown):
    for plot in PLOTS:
        figure = plot(balanced, other, unknown, other, labels=list("abcd"))
        assert figure.get_suptitle().endswith(f"\n{SIZES}; {OTHER}; {UNKNOWN} · gradient flow")
        runs = [f"a: {SIZES}", f"b: {OTHER}", f"c: {UNKNOWN}", f"d: {OTHER}"]
        assert [text for text in words(figure) if text in runs] == runs
        many = plot(balanced, other, unknown, of_sizes(balanced, [1] * 5, 7))
        assert many.get_suptitle().endswith("\n4 problems · gradient flow")


def test_replicas_of_all_runs_are_counted_in_the_title(replicated):
    single = dataclasses.replace(run([3] * 4, 5, log10_time=1.0, records=5))
    for paths in ((single, replicated), (replicated, single)):
        title = plot_loss(*paths).get_suptitle()
        assert "1 or 5 replicas" in title or "5 or 1 replicas" in title


@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_ratios_of_each_run_are_those_of_its_own_optimum(balanced, other, unknown, first):
    order = [balanced, other, unknown]
    order = order[first:] + order[:first]
    known = [path for path in order if path is not unknown]
    axes = plot_loss(*order).axes[1]
    lines = data(axes)
    assert len(lines) == 4
    for path, loss, norm in zip(known, lines[::2], lines[1::2], strict=True):
        K, n = path.problem.num_classes, path.problem.class_counts[0]
        v, late = (K - 1) * math.sqrt(n), (path.log_time >= 1).numpy()
        expected = torch.exp(path.log_loss + path.log_time) * path.log_time * 2 / v
        np.testing.assert_allclose(loss.get_ydata()[late], expected[late])
        np.testing.assert_allclose(norm.get_ydata()[late], (path.squared_norm / path.log_time / (2 * v))[late])
    assert [list(line.get_ydata()) for line in theory(axes)] == [[1.0, 1.0]]
    assert axes.get_legend().get_title().get_text() == f"left out, as $v^*$ is not known:\n{UNKNOWN}"


@pytest.mark.parametrize("first", [0, 1, 2])
def test_each_run_is_drawn_beside_the_loss_law_and_the_margin_of_its_own_problem(balanced, other, unknown, first):
    order = [balanced, other, unknown]
    order = order[first:] + order[:first]
    optima = [path.problem.minimum_norm_value for path in order if path is not unknown]
    left, gap = plot_margin(*order).axes
    assert [line.get_ydata()[0] for line in theory(left)] == pytest.approx([1 / (2 * v) for v in optima])
    assert any(f"is not known for {UNKNOWN}" in text.get_text() for text in left.texts)
    assert len(data(gap)) == 2
    loss = plot_loss(*order).axes[0]
    for axes in (left, loss):
        colours = [line.get_color() for line, path in zip(data(axes), order, strict=True) if path is not unknown]
        assert [line.get_color() for line in theory(axes)] == colours
    for line, v in zip(theory(loss), optima, strict=True):
        assert line.get_ydata()[-1] * LN10 == pytest.approx(math.log(v / 2) - END * LN10 - math.log(END * LN10))


def test_runs_of_one_problem_share_one_grey_line(balanced, descent):
    shared = theory(plot_margin(balanced, descent).axes[0])
    assert [line.get_color() for line in shared] == ["0.25"]
    assert len(theory(plot_loss(balanced, descent).axes[0])) == 1


def test_tolerances_that_differ_are_drawn_in_the_colours_of_their_runs(balanced, descent):
    looser = dataclasses.replace(balanced, config={**balanced.config, "rtol": 0.25})
    for axes in plot_invariants(descent, balanced, looser).axes:
        assert [line.get_ydata()[0] for line in theory(axes)] == [1e-7, 0.25]
        assert [line.get_color() for line in theory(axes)] == [line.get_color() for line in data(axes)[1:]]


def test_a_legend_that_is_too_wide_for_one_row_takes_several(balanced, descent):
    figure = plot_invariants(*[balanced, descent] * 3, labels=[f"a run with quite a long name {i}" for i in range(6)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width < figure.bbox.width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.4, "999"),
        (999.6, "1000"),
        (1000 - 1e-9, "1000"),
        (-999.99, "−1000"),
        (9999.9, "$10^{4}$"),
        (9.9999e6, "$10^{7}$"),
        (-2.5e7, "$-2.5 \\times 10^{7}$"),
        (1e-6, "$10^{-6}$"),
        (0.5, "0.5"),
        (0.0, "0"),
    ],
)
def test_numbers_are_written_plainly_up_to_four_digits(value, text):
    assert number(value) == text


def test_a_panel_just_before_a_round_time_is_named_and_ticked_by_it(balanced):
    path = dataclasses.replace(balanced, log_time=balanced.log_time * ((1000 - 1e-9) / END))
    assert plot_collapse(path).axes[-1].get_title() == r"$\log_{10}\, t$ = 1000"
    assert 1000 in panels(plot_metrics(path, names=["nc0"]))["nc0"].get_xticks()


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


# --- certificates ----------------------------------------------------------------------------------------------------


def test_bounds_are_drawn_as_recorded_from_where_they_exist(balanced):
    bounds, gap = plot_certificate(balanced).axes
    certificate = balanced.certificate
    names = ("lower_bound", "nuclear_upper_bound", "upper_bound")
    for line, name in zip(data(bounds), names, strict=True):
        values = getattr(certificate, name)
        assert_drawn(line, balanced, torch.where(values.isinf(), torch.nan, values))
    assert_drawn(data(gap)[0], balanced, torch.where(certificate.gap.isinf(), torch.nan, certificate.gap))
    assert np.isnan(data(bounds)[1].get_ydata()[0])
    (optimum,) = theory(bounds)
    assert optimum.get_ydata() == pytest.approx([4.0, 4.0])  # (K − 1)√n
    low, high = bounds.get_ylim()
    assert low < float(certificate.lower_bound.min())
    assert 4.0 < high < 8.0


def test_the_gap_is_compared_with_its_law_and_states_its_own_exponent():
    # At rtol 1e-4 the gap itself is off by more than its exponent may be.
    path = run([4] * 3, 6, log10_time=END, records=60, rtol=1e-6)
    _, gap = plot_certificate(path).axes
    (law,) = theory(gap)
    assert slope(law) == pytest.approx(-1)
    assert law.get_ydata()[-1] == pytest.approx(float(path.certificate.gap[-1]))
    (note,) = [text.get_text() for text in gap.texts]
    # Rates of 1/log t have corrections of the same relative order.
    assert float(note.split("measured ")[1].replace("−", "-")) == pytest.approx(-1, abs=0.05)


def test_below_full_rank_no_optimum_and_no_law_are_drawn_and_the_figure_says_why():
    path = run([3] * 5, 2, log10_time=20.0)
    figure = plot_certificate(path)
    assert not any(theory(axes) for axes in figure.axes)
    assert any("not tight" in text for text in words(figure))
    figure.draw_without_rendering()


def test_a_run_that_never_separates_shows_its_lower_bound_alone():
    problem = ulpm.Problem([2] * 5, 3)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=-3.0, records=4)
    assert bool(path.certificate.upper_bound.isinf().all())
    figure = plot_certificate(path)
    assert np.isfinite(data(figure.axes[0])[0].get_ydata()).all()
    assert "not defined at any record" in words(figure)
    figure.draw_without_rendering()


def test_each_run_is_beside_the_optimum_of_its_own_problem(balanced):
    other = run([2] * 4, 5)
    bounds, gap = plot_certificate(balanced, other).axes
    assert sorted(line.get_ydata()[0] for line in theory(bounds)) == pytest.approx([4.0, 3 * math.sqrt(2)])
    assert len(data(gap)) == 2
    assert len(theory(gap)) == 1


def positions(marks):
    return np.stack([np.asarray(x) for x in getattr(marks, "_offsets3d", marks.get_offsets().T)], 1)


def class_means(axes):
    """Positions of the large markers, those of the class means."""
    marks = [c for c in axes.collections if isinstance(c, PathCollection) and c.get_sizes()[0] > 50]
    return np.concatenate([positions(mark) for mark in marks])


@pytest.mark.parametrize(("counts", "d", "dim"), [((3, 3), 4, 2), ((4, 4, 4), 6, 2), ((3, 3, 3, 3), 5, 3)])
def test_collapsed_classes_are_seen_as_a_regular_simplex_with_class_0_upwards(counts, d, dim):
    figure = plot_collapse(run(counts, d, log10_time=50.0, snapshots=6))
    assert len(figure.axes) == 6
    assert figure.axes[0].get_title().startswith("$t$ = 0")
    means = class_means(figure.axes[-1])
    assert means.shape == (len(counts), dim)
    lengths = np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(lengths, lengths.mean(), rtol=0.1)
    cosines = (means @ means.T / lengths[:, None] / lengths)[~np.eye(len(counts), dtype=bool)]
    np.testing.assert_allclose(cosines, -1 / (len(counts) - 1), atol=0.1)
    assert means[0, -1] > 0.97 * lengths[0]


def seen(axes):
    """Where features and class means are in a panel, as fractions of its sides."""
    points = np.concatenate([positions(c) for c in axes.collections if isinstance(c, PathCollection)])
    if points.shape[1] == 3:
        points = np.stack(proj3d.proj_transform(*points.T, axes.get_proj())[:2], 1)
    return axes.transAxes.inverted().transform(axes.transData.transform(points))


@pytest.mark.parametrize("K", [2, 3, 4, 10])
def test_what_is_shown_fills_its_panel_and_stays_inside(K):
    figure = plot_collapse(run([4] * K, 12, log10_time=30.0, snapshots=9))
    figure.draw_without_rendering()
    for i, axes in enumerate(figure.axes):
        fractions = seen(axes)
        assert fractions.min() > 0
        assert fractions.max() < 1
        assert np.ptp(fractions, axis=0).max() > (0.4 if i == 0 else 0.6)
        box = axes.get_window_extent()
        assert box.width > 0.28 * figure.bbox.width


def test_a_panel_with_little_in_it_is_enlarged_and_says_how_much(balanced):
    snapshots = balanced.snapshots
    W, H = snapshots.W.clone(), snapshots.H.clone()
    W[0], H[0] = 0.25 * W[-1], 0.25 * H[-1]  # collapsed, but small: norms are divided by one that is not seen
    H[0, :, 0] = torch.linalg.svd(W[-1]).Vh[-1] * H[-1].norm(dim=0).max()
    W[0, 0] = torch.linalg.svd(W[-1]).Vh[-1] * W[-1].norm(dim=1).max()
    path = dataclasses.replace(balanced, snapshots=ulpm.Snapshots(snapshots.records, W, H))
    first, *later = plot_collapse(path).axes
    factor = float(first.get_title().split("×")[1].rstrip(")"))
    assert factor > 3
    assert np.ptp(later[-1].get_xlim()) / np.ptp(first.get_xlim()) == pytest.approx(factor, abs=0.05)
    assert not any("enlarged" in axes.get_title() for axes in later)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 1, 4), (5, 2, 3), (9, 2, 3)])
def test_many_snapshots_take_two_rows(balanced, count, rows, columns):
    snapshots = balanced.snapshots
    chosen = torch.linspace(0, 5, count).round().long()
    few = ulpm.Snapshots(snapshots.records[chosen], snapshots.W[chosen], snapshots.H[chosen])
    grid = plot_collapse(dataclasses.replace(balanced, snapshots=few)).axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)


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


@pytest.mark.filterwarnings("ignore:In one dimension")
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
        f"{n}.png" for n in ("metrics", "loss", "margin", "invariants", "certificate", "collapse")
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
    for name in ("metrics", "margin", "invariants", "certificate"):
        monkeypatch.setattr(f"ulpm.plotting.files.plot_{name}", lambda path, **_: Figure())
    return dataclasses.replace(balanced, snapshots=None)


def test_without_snapshots_the_other_figures_are_written_the_same_each_time(small, tmp_path):
    first, second = (save_figures(small, tmp_path / name, formats=["svg", "pdf"]) for name in "ab")
    names = ["metrics.svg", "loss.svg", "margin.svg", "invariants.svg", "certificate.svg"]
    assert [file.name for file in first[::2]] == names
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert b"CreationDate" not in one.read_bytes()


def test_a_run_without_certificates_is_drawn_without_them(small, tmp_path):
    files = save_figures(dataclasses.replace(small, certificate=None), tmp_path)
    assert [file.name for file in files] == ["metrics.png", "loss.png", "margin.png", "invariants.png"]
    with pytest.raises(ValueError, match="has no certificates to draw"):
        plot_certificate(dataclasses.replace(small, certificate=None))


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
