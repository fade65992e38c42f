"""Figures hold what they were given, checked on their artists rather than on pixels."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import pytest  # noqa: E402

from fer_lib import plots  # noqa: E402


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_history_has_a_line_per_curve():
    epochs = [{"epoch": n, "loss": 2.0 - n, "accuracy": 0.1 * n, "seconds": 9} for n in (1, 2, 3)]
    figure = plots.history(epochs, {"loss": "training loss", "accuracy": "accuracy"})
    (axes,) = figure.axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 0, -1], pytest.approx([0.1, 0.2, 0.3])]
    assert all(line.get_xdata().tolist() == [1, 2, 3] for line in axes.lines)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training loss", "accuracy"]
    assert axes.get_xlabel() == "epoch" and len({line.get_marker() for line in axes.lines}) == 2


def test_confusion_has_the_share_of_each_row_in_each_cell():
    figure = plots.confusion([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["happy", "sad", "fear"], "a model")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "0", "0", "100", "0", "0", "0", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy (4)", "sad (2)", "fear (0)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["happy", "sad", "fear"]
    assert axes.get_title() == "a model" and len(figure.axes) == 2  # the second is the colour bar
    assert not axes.images  # cells are a mesh, no picture
