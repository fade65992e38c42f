"""Figures for the notebooks: colour-blind safe, and readable in grey and in a column of 8 cm.

Every function takes plain arrays and dicts and returns the matplotlib figure; what is compared is a dict
{legend: array}. Colour never stands alone: markers, lines or hatches differ too. A class or bin without rows has no
value. A title says what the numbers are from; "demo" is the caller's to write there.
"""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib import font_manager
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator

from fer_lib.affect import CLASS_POINTS
from fer_lib.faces import EMOTION_COLOURS, EMOTIONS
from fer_lib.files import replacing
from fer_lib.metrics import calibration_bins, coverage_curve, expected_calibration_error, wilson_interval
from fer_lib.series import FaceSeries, Series

seaborn.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)

WIDTH = 4.2  # inches: text of 9 points is still 6.7 points when the figure is printed 8 cm wide
SMALL = 8.5  # points, for numbers inside a figure
MARKERS = "osD^vPX*<>"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\")
GREY = "0.35"
SHOWN_FACES = 6  # of a video: more panels than that are not looked at
SHOWN_FROM = 0.05  # an emotion that never gets so probable would be a line on the ground
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps text readable on points and lines

# Where a class point's name stands: (x, y) in points from it and the side of the text that is there. Neutral and
# uncertain are one point; the others are so close that only places by hand keep the names apart.
NAME_PLACES = {
    "anger": (0, 7, "center"),
    "contempt": (6, -15, "right"),
    "disgust": (-7, 0, "right"),
    "fear": (-7, -6, "right"),
    "happy": (0, 7, "center"),
    "neutral": (6, -12, "left"),
    "sad": (0, -15, "center"),
    "surprise": (0, 8, "center"),
}


def save(figure, path) -> None:
    """Write a figure as a PNG of 150 points an inch, complete or not at all; it stays open, for a notebook to show."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def history(epochs: list[dict], curves: dict[str, str], title: str = ""):
    """One line per curve over the epochs of fer_lib.train.fit's history; curves: {key of the history: legend}.

    A value that is None leaves a gap.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.5), layout="constrained")
    number = [row["epoch"] for row in epochs]
    for i, (key, legend) in enumerate(curves.items()):
        values = np.array([row[key] for row in epochs], dtype=float)
        style = {"marker": _pick(MARKERS, i), "linestyle": _pick(LINES, i), "markersize": 5, "label": legend}
        axes.plot(number, values, markevery=1 + len(epochs) // 20, **style)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not epochs:
        _no_rows(axes, 0, 0, ha="center")
    return _finished(figure, title)


def confusion(matrix, labels, title: str = ""):
    """A confusion matrix with rows the truth: per cent of the row as colour and number.

    matrix: (C, C) counts. The row of a class that does not occur stays empty.
    """
    counts = np.asarray(matrix, dtype=float)
    n = counts.sum(axis=1)
    share = 100 * counts / np.where(n, n, np.nan)[:, None]
    rows = [f"{name} ({total:,.0f})" for name, total in zip(labels, n, strict=True)]
    side = 0.37 * len(labels)
    figure, axes = plt.subplots(figsize=(max(side + 1.5, WIDTH), side + 1.2), layout="constrained")
    options = {"cmap": "Blues", "vmin": 0, "vmax": 100, "cbar": False, "annot_kws": {"size": SMALL}}
    seaborn.heatmap(share, annot=True, fmt=".0f", xticklabels=labels, yticklabels=rows, ax=axes, **options)
    for text in axes.texts:
        text.set_color("white" if float(text.get_text()) > 65 else "black")  # 4:1 and more on these blues
    axes.set(xlabel="predicted, % of the true class", ylabel="true (rows)")
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)
    axes.grid(False)
    axes.spines[:].set_visible(True)
    for k in np.flatnonzero(n == 0):
        _no_rows(axes, len(labels) / 2, k + 0.5, ha="center")
    return _finished(figure, title)


def reliability(truth, probabilities: dict, title: str = "", bins: int = 15):
    """Accuracy against confidence with 95 % Wilson intervals, and below it the rows in each bin (Guo et al. 2017).

    truth: (n,) int; probabilities: {legend: (n, C) rows that sum to 1}, for example before and after temperature
    scaling. Bins are those of fer_lib.metrics.calibration_bins, the ECE is in the legend; a point stands at its bin's
    mean confidence, and below the diagonal the model is too sure of itself.
    """
    figure, (axes, below) = plt.subplots(
        2, 1, sharex=True, height_ratios=(3, 1), figsize=(WIDTH, 3.8), layout="constrained"
    )
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="confidence = accuracy")
    for i, (legend, probability) in enumerate(probabilities.items()):
        if len(truth) == 0:
            break
        confidence, accuracy, rows = calibration_bins(truth, probability, bins)
        ece = expected_calibration_error(truth, probability, bins)
        _points(axes, confidence, *_share(accuracy * rows, rows), i, label=f"{legend}: ECE {ece:.3f}", vertical=True)
        width = 0.8 / bins / len(probabilities)
        place = (np.arange(bins) + 0.1) / bins + width * i
        below.bar(place, rows, width, align="edge", color=f"C{i}", hatch=_pick(HATCHES, i), edgecolor="black", lw=0.5)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), ylabel="accuracy")
    # rows per bin differ by orders of magnitude, and a bin with one row must be seen
    below.set(xlabel="confidence", ylabel="rows", yscale="log", ylim=(0.5, max(10, 2 * len(truth))))
    below.yaxis.set_major_locator(LogLocator(numticks=5))
    below.yaxis.set_major_formatter("{x:,.0f}")
    if len(truth) == 0:
        _no_rows(axes, 0.5, 0.5, ha="center")
    return _finished(figure, title)


def coverage(pairs: dict, title: str = "", marks: dict[str, float] | None = None):
    """Accuracy of the surest answers against the share of faces that they are (El-Yaniv & Wiener 2010).

    pairs: {legend: (confidence (n,), right (n,) bool)}. marks: {legend: threshold}, a point on that curve: what a model
    answers that says "uncertain" below it.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")
    for i, (legend, (confidence, right)) in enumerate(pairs.items()):
        if len(right) == 0:
            _no_rows(axes, 0.5, 0.9, ha="center")
            continue
        threshold, share, accuracy = coverage_curve(confidence, right)
        axes.plot(share, accuracy, color=f"C{i}", linestyle=_pick(LINES, i), label=legend)
        answered = np.flatnonzero(threshold >= (marks or {}).get(legend, np.inf))
        if len(answered):
            at = answered[-1]
            label = f"uncertain below {marks[legend]:.2f}: {accuracy[at]:.1%} of {share[at]:.1%}"
            axes.plot(share[at], accuracy[at], color=f"C{i}", marker=_pick(MARKERS, i), linestyle="", label=label)
    axes.set(xlim=(0, 1.02), xlabel="share of the faces that are answered", ylabel="accuracy")
    axes.set_ylim(top=1.01)
    return _finished(figure, title)


def recall(confusions: dict, labels, title: str = ""):
    """Recall of each class with its 95 % Wilson interval; the class's rows stand beside its name.

    confusions: {model: (C, C) counts with rows the truth}, as fer_lib.metrics.classification gives them. A class that
    does not occur has no recall. Where models were tested on different rows it is the fewest and the most.
    """
    matrices = [np.asarray(matrix).reshape(len(labels), len(labels)) for matrix in confusions.values()]
    totals = [matrix.sum(axis=1) for matrix in matrices]
    names = []
    for label, *n in zip(labels, *totals, strict=True):
        rows = f"{min(n):,}" if len(set(n)) == 1 else f"{min(n):,}-{max(n):,}"
        names.append(f"{label} ({rows})")
    figure, axes, places = _bands(names, len(matrices))
    for i, (model, matrix, n, place) in enumerate(zip(confusions, matrices, totals, places, strict=True)):
        _points(axes, place, *(100 * _share(np.diag(matrix), n)), i, label=model)
    for k in np.flatnonzero(np.sum(totals, axis=0) == 0):
        _no_rows(axes, 1, k)
    axes.set(xlim=(-2, 102), xlabel="recall, %, and 95 % interval")
    return _finished(figure, title)


def class_counts(counts: dict, labels, title: str = ""):
    """Rows of each class as bars with their number; counts: {part: (C,) counts}, for example of the splits."""
    figure, axes, places = _bands(labels, len(counts))
    height = 0.8 / max(len(counts), 1)
    highest = max((int(n) for part in counts.values() for n in part), default=0)
    for i, ((part, n), place) in enumerate(zip(counts.items(), places, strict=True)):
        bars = axes.barh(
            place, n, height, color=f"C{i}", hatch=_pick(HATCHES, i), edgecolor="black", lw=0.5, label=part
        )
        axes.bar_label(bars, [f"{value:,}" for value in n], padding=2, fontsize=SMALL)
    axes.set(xlim=(0, 1.25 * max(highest, 1)), xlabel="rows")  # room for the numbers beside the bars
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return _finished(figure, title)


def timeline(times, panels: dict, labels, acted=(), title: str = ""):
    """The probability of every emotion over a video, one panel per model; what was acted as named bands under each.

    times: (T,) seconds. panels: {model: (T, C) over labels, nan where there is no face}. acted: (start, end, name)
    each, in seconds.
    """
    height = 1.5 * max(len(panels), 1) + 0.6
    figure, grid = plt.subplots(
        max(len(panels), 1), 1, figsize=(2 * WIDTH, height), layout="constrained", sharex=True, squeeze=False
    )
    times = np.asarray(times, float)
    for axes, (model, probability) in zip(grid[:, 0], panels.items(), strict=False):
        for i, label in enumerate(labels):
            if np.nanmax(probability[:, i], initial=0) > 0:  # a class that the model does not know has no line
                axes.plot(times, 100 * probability[:, i], color=f"C{i}", linestyle=_pick(LINES, i), lw=1.3, label=label)
        for start, end, name in acted:
            axes.axvspan(start, end, ymax=0.13, color="0.85", lw=0)
            axes.axvline(start, ymax=0.13, color=GREY, lw=0.8)
            middle = (start + end) / 2
            axes.text(middle, -12, name, ha="center", va="center", fontsize=SMALL - 1, clip_on=True)
        axes.set_title(model, fontsize=SMALL, loc="left", pad=2)
    for axes in grid[:, 0]:
        axes.set(ylim=(-20 if acted else -3, 103), yticks=(0, 50, 100), ylabel="%")
    if not panels or not len(times):
        _no_rows(grid[0, 0], 0, 50)
    grid[-1, 0].set_xlabel("seconds")
    return _finished(figure, title)


def plot_video(rows, path, title: str = "") -> None:
    """Write the faces of one video over time as a PNG; rows: of its table, see fer_lib.summary.moments."""
    figure = faces_over_time(Series.of(rows), _drawable(title))
    try:
        save(figure, path)
    finally:
        plt.close(figure)


def _drawable(text: str) -> str:
    """The text with a square for what the font has no glyph for, such as Chinese names and control characters."""
    known = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    return "".join(c if ord(c) in known else "\u25a1" for c in text)


def faces_over_time(series: Series, title: str = ""):
    """Emotions over time for each face of a video, and valence and arousal below them where there are any.

    A row for each emotion, filled as high as its probability, 0 to 1; those that never reached SHOWN_FROM in any face
    have none. The SHOWN_FACES that were seen longest; the title says how many are left out.
    """
    faces = series.faces(SHOWN_FACES)
    reached = [np.nanmax(face.probability, axis=0, initial=0) for face in faces]
    names = [EMOTIONS[i] for i in np.flatnonzero(np.max(reached, axis=0) > SHOWN_FROM)] if faces else []
    with_va = any(np.isfinite(face.va).any() for face in faces)
    panels, heights = (2, (0.21 * len(names), 0.8)) if with_va else (1, (max(0.21 * len(names), 0.6),))
    count = max(len(faces), 1)
    figure, grid = plt.subplots(
        *(panels * count, 1),
        sharex=True,
        squeeze=False,
        height_ratios=heights * count,
        figsize=(2 * WIDTH, (sum(heights) + 0.3) * count + 0.5),
        layout="constrained",
    )
    for axes, face in zip(grid[::panels, 0], faces, strict=False):
        for row, name in enumerate(names):
            height = 0.92 * face.probability[:, EMOTIONS.index(name)]
            floor = np.full(2 * len(height), len(names) - 1 - row, float)
            edges, top = _steps(series, face, height)
            axes.fill_between(edges, floor, floor + top, color=EMOTION_COLOURS[name], lw=0.3)
        axes.set(ylim=(0, max(len(names), 1)), yticks=np.arange(len(names)) + 0.4, yticklabels=reversed(names))
        axes.grid(axis="y", visible=False)
        for row in range(1, len(names)):
            axes.axhline(row, color="0.9", lw=0.6, zorder=0)
        axes.set_title(f"face {face.face_id}, seen for {face.seconds:.1f} s", fontsize=SMALL, loc="left", pad=2)
    for axes, face in zip(grid[1::panels, 0] if with_va else (), faces, strict=False):
        for column, (name, line) in enumerate((("valence", "-"), ("arousal", ":"))):
            axes.plot(*_steps(series, face, face.va[:, column]), label=name, color=f"C{column}", linestyle=line, lw=1.3)
        axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    if not faces:
        grid[0, 0].set(yticks=())
        axes, middle = grid[0, 0], (series.start_s + series.end_s) / 2
        _no_rows(axes, middle, 0.5, ha="center")
    if len(series) > len(faces):
        left_out, least = len(series) - len(faces), faces[-1].seconds
        title = ": ".join(filter(None, (title, f"{left_out} more, seen for {least:.1f} s or less, left out")))
    grid[-1, 0].set(xlabel="seconds", xlim=(series.start_s, max(series.end_s, series.start_s + 1e-3)))
    return _finished(figure, title)


def _steps(series: Series, face: FaceSeries, values) -> tuple[np.ndarray, np.ndarray]:
    """(times (2n,), values (2n,)): each value from its step's start to its end, so that a single step is seen too."""
    edges = series.start_s + series.step_s * (face.first + np.arange(len(values) + 1))
    return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)


def intervals(groups: dict, xlabel: str, title: str = "", ends: str = "95 % interval", start: float = 0.0):
    """A figure of each group with its interval; groups: {group: (value, low, high)}, the first on top.

    ends: what low and high are. start: where the axis begins, or at the least of them.
    """
    figure, axes, places = _bands(list(groups), 1)
    value, low, high = np.array(list(groups.values()), float).reshape(-1, 3).T
    _points(axes, places[0], value, low, high, 0, label="")
    if not groups:
        _no_rows(axes, 0, 0, ha="center")
    axes.set(xlim=(min(start, low.min(initial=start)), None), xlabel=f"{xlabel},\nand {ends}")
    return _finished(figure, title)


def ages(truth, predicted, title: str = ""):
    """How many people of an age in years (N,) were given which (N,); on the diagonal the answer is right."""
    truth, predicted = np.asarray(truth, float), np.asarray(predicted, float)
    figure, axes = plt.subplots(figsize=(WIDTH, 4.3), layout="constrained")
    oldest = max(10.0, truth.max(initial=0), predicted.max(initial=0))
    if len(truth):
        extent = (0, oldest, 0, oldest)
        cells = axes.hexbin(truth, predicted, gridsize=30, extent=extent, mincnt=1, bins="log", cmap="Blues", lw=0.2)
        figure.colorbar(cells, label="people", location="bottom", shrink=0.7)
    else:
        _no_rows(axes, oldest / 2, oldest / 2, ha="center")
    axes.plot((0, oldest), (0, oldest), color=GREY, lw=1, linestyle="--")
    axes.set(xlim=(0, oldest), ylim=(0, oldest), aspect="equal", xlabel="age, years", ylabel="answer, years")
    return _finished(figure, title)


def valence_arousal(points: dict, title: str = "", density: bool = False):
    """The valence-arousal plane with the class points of fer_lib.affect and, if any, predictions.

    points: {legend: (n, 2) in [-1, 1], valence first}; {} draws the plane alone. density: how many points there are
    instead of the points, all legends together, for more of them than the eye can tell apart.
    ValueError: values outside [-1, 1] or nan.
    """
    points = {legend: np.asarray(values, dtype=float).reshape(-1, 2) for legend, values in points.items()}
    together = np.concatenate([np.zeros((0, 2)), *points.values()])
    if not (np.abs(together) <= 1).all():  # nan either
        raise ValueError("valence and arousal lie in [-1, 1]; turn a 1-7 scale with fer_lib.affect.from_seven")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.95), layout="constrained")
    axes.axhline(0, color=GREY, lw=1)
    axes.axvline(0, color=GREY, lw=1)
    if density and len(together):
        cells = axes.hexbin(*together.T, gridsize=24, extent=(-1, 1, -1, 1), mincnt=1, cmap="Blues", lw=0.3, ec="0.7")
        figure.set_figheight(figure.get_figheight() + 0.7)
        figure.colorbar(cells, label="rows", location="bottom", shrink=0.7, ticks=MaxNLocator(4, integer=True))
    else:
        for i, (legend, values) in enumerate(points.items()):
            options = {"s": 14, "alpha": 0.8, "marker": _pick(MARKERS, i), "lw": 0.3, "ec": "black"}
            axes.scatter(*values.T, color=f"C{i}", label=f"{legend} ({len(values):,})", **options)
    _class_points(axes)
    limits, ticks = (-1.02, 1.02), np.linspace(-1, 1, 5)
    axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks, xlabel="valence", ylabel="arousal")
    return _finished(figure, title)


def gallery(pictures, truth, probability, labels, title: str = "", columns: int = 3):
    """Pictures with their prediction; a tick and a plain frame are right, a cross, dashes and the true label wrong.

    Only demo drawings and public-domain photographs may be shown in a notebook that is committed: never a picture of a
    data set.
    pictures: n of (H, W) grey or (H, W, 3) RGB, uint8, of any sizes; truth: n indices into labels, or None for a
    picture, or for all of them, without a label: neither right nor wrong; probability: (n, C), or bool with one True a
    row for answers without a probability.
    """
    lines = max(1, -(-len(pictures) // columns))
    size = (WIDTH, (WIDTH / columns + 0.35) * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    truth = [None] * len(pictures) if truth is None else truth
    shown = zip(pictures, truth, probability, strict=True)
    for axes, (picture, true, row) in zip(grid.flat, shown, strict=False):  # the last cells may stay empty
        axes.set_axis_on()
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[], anchor="S")  # captions of a line of pictures at one height
        best = np.argmax(row)
        share = "" if np.asarray(row).dtype == bool else f" {100 * row[best]:.0f}%"
        text, style = f"{labels[best]}{share}", {"color": GREY, "lw": 1}
        if true is not None:
            right = best == true
            text = f"✓ {text}" if right else f"✗ {text}\ntrue: {labels[true]}"
            style = {"color": "C0", "lw": 2} if right else {"color": "C3", "lw": 3, "linestyle": (0, (2, 1))}
        axes.set_xlabel(text, fontsize=SMALL, labelpad=3)
        axes.spines[:].set(capstyle="butt", **style)  # the spines' own caps would close the gaps
    if len(pictures) == 0:
        _no_rows(grid[0, columns // 2], 0.5, 0.5, ha="center")
    return _finished(figure, title)


def _pick(choices, i: int):
    return choices[i % len(choices)]


def _share(right, rows) -> np.ndarray:
    """(3, k): right / rows and its 95 % Wilson interval's ends; nan where there are no rows."""
    result = np.full((3, len(rows)), np.nan)
    for i, n in enumerate(rows):
        if n:
            k = int(np.rint(right[i]))  # an accuracy times its rows is whole but for rounding
            result[:, i] = k / n, *wilson_interval(k, int(n))
    return result


def _points(axes, place, value, low, high, i: int, label: str, vertical: bool = False):
    """Markers with intervals at `place`, a coordinate (k,) across the values."""
    style = {"fmt": _pick(MARKERS, i), "color": f"C{i}", "markersize": 5, "capsize": 2, "lw": 1.2, "label": label}
    error = np.maximum([value - low, high - value], 0)  # rounding may leave -1e-17
    if vertical:
        axes.errorbar(place, value, yerr=error, **style)
    else:
        axes.errorbar(value, place, xerr=error, **style)


def _bands(labels, groups: int):
    """(figure, axes, places) with a band per label, the first on top; places (groups, C): y of each group's rows."""
    height = 1.2 + len(labels) * (0.12 + 0.15 * max(groups, 1))
    figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    axes.set(yticks=range(len(labels)), yticklabels=labels, ylim=(max(len(labels), 1) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    offset = (np.arange(groups) - (groups - 1) / 2) * 0.8 / max(groups, 1)
    return figure, axes, offset[:, None] + np.arange(len(labels))


def _class_points(axes):
    places = dict(zip(EMOTIONS, CLASS_POINTS.tolist(), strict=True))
    axes.plot(*zip(*places.values(), strict=True), "P", color="black", markersize=7, markeredgecolor="white")
    for name, (x, y, side) in NAME_PLACES.items():
        text = "neutral, uncertain" if name == "neutral" else name
        axes.annotate(
            text, places[name], (x, y), textcoords="offset points", ha=side, fontsize=SMALL, path_effects=HALO
        )


def _no_rows(axes, x: float, y: float, **options):
    axes.text(x, y, "no rows", va="center", fontsize=SMALL, color=GREY, style="italic", path_effects=HALO, **options)


def _finished(figure, title: str):
    """The figure with its title above and its legend, if any, below; it grows by what they need."""
    letters = 72 * figure.get_figwidth() / 0.6  # in a line at 1 point: a letter is about 0.6 of its size wide
    grown = 0.0
    shown = {}  # by legend, of all axes: one of them may lack what another has
    for axes in figure.axes:
        shown |= {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        texts, handles = list(shown), list(shown.values())
        texts = [textwrap.fill(text, int(letters / plt.rcParams["legend.fontsize"]) - 8) for text in texts]
        for columns in range(len(texts), 0, -1):
            legend = figure.legend(handles, texts, loc="outside lower center", ncols=columns)
            box = legend.get_window_extent()
            if columns == 1 or box.width < 0.98 * figure.bbox.width:
                break
            legend.remove()
        grown += box.height / figure.dpi
    if title:
        size = plt.rcParams["axes.titlesize"]
        title = textwrap.fill(title, int(letters / size), break_on_hyphens=False)
        figure.suptitle(title, fontsize=size)
        grown += 0.2 * (1 + title.count("\n"))
    figure.set_figheight(figure.get_figheight() + grown)
    return figure
