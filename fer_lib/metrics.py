"""The figures of a classifier, its calibration among them, and the bootstrap interval of a mean."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


def classification(truth, probability, labels) -> dict:
    """The figures of a classifier: n, accuracy, macro_f1, weighted_precision, weighted_recall, recall, confusion, ece.

    truth: (n,) int index into labels; probability: (n, C) rows that sum to 1. recall is keyed by label; confusion has
    rows the truth. Macro figures run over the labels that occur in the truth; recall of an absent label is None.
    """
    truth, probability = np.asarray(truth), np.asarray(probability)
    predicted = probability.argmax(axis=1)
    everything = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=everything, zero_division=0.0
    )
    present = support > 0
    return {
        "n": len(truth),
        "accuracy": float(np.mean(predicted == truth)),
        "macro_f1": float(f1[present].mean()),
        "weighted_precision": float(np.average(precision, weights=support)),
        "weighted_recall": float(np.average(recall, weights=support)),
        "recall": {name: float(r) if p else None for name, r, p in zip(labels, recall, present, strict=True)},
        "confusion": confusion_matrix(truth, predicted, labels=everything).tolist(),
        "ece": expected_calibration_error(truth, probability),
    }


def expected_calibration_error(truth, probability, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their rows (Guo et al. 2017)."""
    probability = np.asarray(probability)
    confidence = probability.max(axis=1)
    correct = probability.argmax(axis=1) == np.asarray(truth)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    gaps = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def bootstrap_interval(values, seed: int = 0, draws: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (n,) values; for accuracy, values are 0 and 1."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
