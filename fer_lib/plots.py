"""Figures for the notebooks: colour-blind safe, readable in print."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn

seaborn.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)


def history(epochs: list[dict], curves: dict[str, str]):
    """One line per curve over the epochs of fer_lib.train.fit's history; curves: {key of the history: legend}."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (key, legend), marker in zip(curves.items(), "osDv^", strict=False):
        axes.plot([row["epoch"] for row in epochs], [row[key] for row in epochs], marker=marker, label=legend)
    axes.set(xlabel="epoch", xticks=[row["epoch"] for row in epochs])
    axes.legend()
    return figure


def confusion(matrix, labels, title: str):
    """A confusion matrix with rows the truth: per cent of the row as colour and number."""
    counts = np.asarray(matrix, dtype=float)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [f"{name} ({int(n)})" for name, n in zip(labels, counts.sum(axis=1), strict=True)]
    side = 1.6 + 0.62 * len(labels)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    options = {"cmap": "cividis", "vmin": 0, "vmax": 100, "cbar_kws": {"label": "% of the true class"}}
    seaborn.heatmap(share, annot=True, fmt=".0f", xticklabels=labels, yticklabels=rows, ax=axes, square=True, **options)
    axes.set(xlabel="predicted", ylabel="true (rows)", title=title)
    axes.tick_params(axis="x", rotation=45)
    return figure
