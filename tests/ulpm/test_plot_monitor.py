"""Figures of a training show what the table holds."""

import numpy as np
import pytest

from ulpm.monitor import Table
from ulpm.plotting import plot_depth, plot_monitor


def table():
    return Table(
        {"epoch": epoch, "split": split, "layer": layer, "metric": metric, "value": (1 + j) / (1 + epoch)}
        for epoch in (0, 3, 1)
        for split in ("train", "test")
        for layer in ("body", "head")
        for j, metric in enumerate(("nc1_pinv", "ncc_accuracy", "nc0"))
        if metric != "nc0" or layer == "head"
    )


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_every_metric_has_a_line_for_each_layer_and_split_in_the_order_of_epochs():
    found = panels(plot_monitor(table()))
    assert list(found) == ["nc1_pinv", "ncc_accuracy", "nc0"]
    lines = found["nc1_pinv"].get_lines()
    assert len(lines) == 4
    for line in lines:
        np.testing.assert_allclose(line.get_xdata(), [0, 1, 3])
        np.testing.assert_allclose(line.get_ydata(), [1, 1 / 2, 1 / 4])
    looks = {(line.get_color(), str(line.get_linestyle())) for line in lines}
    assert len(looks) == 4
    assert found["nc1_pinv"].get_yscale() == "log"
    assert found["ncc_accuracy"].get_yscale() == "linear"


def test_names_of_layers_and_splits_are_shown_as_they_are():
    names = {"train": r"$\\frac{$", "test": "_test", "body": "_conv$x$", "head": "\nfc\0"}
    renamed = Table({**row, "split": names[row["split"]], "layer": names[row["layer"]]} for row in table())
    for figure in (plot_monitor(renamed), plot_depth(renamed)):
        figure.draw_without_rendering()
        shown = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        shown |= {text.get_text() for axes in figure.axes for text in axes.get_xticklabels()}
        assert {r"\$\\frac{\$", " _test", r" _conv\$x\$", " fc "} <= shown


def test_a_line_along_the_layers_is_that_of_the_last_epoch():
    found = panels(plot_depth(table()))
    assert list(found) == ["nc1_pinv", "ncc_accuracy"]  # what every layer has
    axes = found["ncc_accuracy"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["body", "head"]
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [[2 / 4, 2 / 4]] * 2


def test_what_was_not_measured_is_refused_in_one_sentence():
    for plot in (plot_monitor, plot_depth):
        with pytest.raises(ValueError, match=r"names must be among nc1_pinv, .* but nc9 was given"):
            plot(table(), names=["nc9"])
        with pytest.raises(ValueError, match="it is empty: call monitor"):
            plot(Table())
