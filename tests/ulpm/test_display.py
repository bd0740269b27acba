"""What a trajectory shows of itself, in a terminal and in a notebook."""

import dataclasses
import xml.etree.ElementTree as ET

import torch

import ulpm


def a_run(replicas: int | None = None, counts: tuple[int, ...] = (2, 2, 2)) -> ulpm.Trajectory:
    problem = ulpm.Problem(counts, feature_dim=3)
    return ulpm.gradient_flow(problem, problem.random_state(seed=0, replicas=replicas), log10_time=3, records=6)


def test_a_trajectory_is_shown_in_a_few_lines_with_its_first_and_last_values() -> None:
    path = a_run()
    lines = repr(path).splitlines()
    assert lines[0] == "Trajectory of 3 classes of 2 samples, d = 3"
    assert "The requested log time was reached." in lines[1]
    assert "log10 t = 3, 6 records" in lines[2]
    for line, name in zip(lines[3:], ("log_loss", "nc1_distance", "nc2_angle_means", "nc3_duality"), strict=False):
        values = path.columns()[name]
        assert line.split() == [name, f"{float(values[0]):.4g}", "->", f"{float(values[-1]):.4g}"]
    assert lines[7].split()[0] == "margin_ratio"
    assert len(lines) == 8


def test_a_notebook_gets_a_table_with_a_curve_for_each_metric_that_falls_as_the_metric_does() -> None:
    path = a_run(counts=(3, 2, 1))
    table = ET.fromstring(path._repr_html_().replace("colspan=3", "colspan='3'"))
    names = [row.find("th").text for row in table]
    assert names[:4] == ["Trajectory", "status", "end", "log_loss"]
    assert table[0].find("td").text == "classes of 3, 2, 1 samples, d = 3"
    (line,) = table[names.index("nc1_distance")].iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    # Downwards in an SVG is a larger y: the heights order the records as the metric does.
    heights, values = torch.tensor([y for _, y in points]), path.metrics["nc1_distance"]
    assert heights.argmin() == values.argmax()
    assert heights.argmax() == values.argmin()
    assert all(0 <= x <= 120 and 0 <= y <= 22 for x, y in points)


def test_replicas_are_shown_as_ranges_and_one_curve_each() -> None:
    path = a_run(replicas=3)
    assert "3 replicas, 6 records" in repr(path)
    last = path.metrics["nc3_duality"][-1]
    assert f"-> {last.min():.4g} to {last.max():.4g}" in repr(path)
    table = ET.fromstring(path._repr_html_().replace("colspan=3", "colspan='3'"))
    assert len(list(list(table)[4].iter("polyline"))) == 3


def test_a_run_that_stayed_at_its_start_ends_where_it_began() -> None:
    problem = ulpm.Problem([2, 2, 2], feature_dim=3)
    start = problem.random_state(seed=0)
    still = ulpm.State(0 * start.W, 0 * start.H)
    assert "log10 t = -inf, 1 records" in repr(ulpm.gradient_flow(problem, still, log10_time=1, records=6))
    both = ulpm.State(torch.stack([start.W, still.W]), torch.stack([start.H, still.H]))
    assert "log10 t = -inf to 1, 2 replicas" in repr(ulpm.gradient_flow(problem, both, log10_time=1, records=6))


def test_another_loss_has_no_margin_and_says_what_it_minimises() -> None:
    problem = ulpm.Problem([2, 2], feature_dim=2, loss=ulpm.SquaredError(), weight_decay=(1e-2, 1e-2))
    path = ulpm.gradient_flow(problem, problem.random_state(seed=1), log_time=2, records=3)
    assert "squared-error, decay 0.01, 0.01" in repr(path)
    assert "margin_ratio" not in repr(path)


def test_a_metric_that_is_undefined_at_the_end_is_not_shown_as_it_was_before() -> None:
    path = a_run(replicas=2)
    column = path.metrics["nc3_duality"].clone()
    column[-1] = torch.nan
    undefined = dataclasses.replace(path, metrics={**path.metrics, "nc3_duality": column})
    (line,) = (line for line in repr(undefined).splitlines() if "nc3_duality" in line)
    assert line.endswith("-> nan")
    # A replica that has ended before is shown as it ended.
    gone = torch.tensor([False, True]) & (torch.arange(len(column)) == len(column) - 1)[:, None]
    series = {name: getattr(path, name).masked_fill(gone, torch.nan) for name in ("log_loss", "margin", "log_time")}
    metrics = {name: values.masked_fill(gone, torch.nan) for name, values in path.metrics.items()}
    last = [float(path.metrics["nc3_duality"][-1, 0]), float(path.metrics["nc3_duality"][-2, 1])]
    assert f"-> {min(last):.4g} to {max(last):.4g}" in repr(dataclasses.replace(path, **series, metrics=metrics))
